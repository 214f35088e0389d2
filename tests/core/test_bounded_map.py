"""Never more entries than the limit, whatever is done; the oldest goes first."""

from hypothesis import given
from hypothesis import strategies as st

from pybootd.core.bounded_map import BoundedMap, Holdings


@given(st.lists(st.tuples(st.sampled_from("suc"), st.integers(0, 9)), max_size=100))
def test_the_newest_are_kept(steps: list[tuple[str, int]]) -> None:
    """As a list would say it: set and use make an entry the newest, the limit cuts the oldest."""
    kept: BoundedMap[int, int] = BoundedMap(4)
    model: list[int] = []
    for step, key in steps:
        if step == "s" or (step == "u" and key in model):
            model = [one for one in model if one != key] + [key]
        if step == "s":
            kept[key] = key
        elif step == "u":
            assert kept.use(key) == (key if key in model else None)
        else:
            kept.pop(key, None)
            model = [one for one in model if one != key]
        model = model[-4:]
        assert list(kept) == model
    if model:
        assert kept.oldest() == model[0]


def test_holdings_know_who_holds_most() -> None:
    held: Holdings[str, int] = Holdings()
    assert (len(held), len(held.largest()), len(held.items_of("a"))) == (0, 0, 0)
    for holder, item in (("a", 1), ("b", 2), ("b", 3), ("b", 3), ("c", 4)):
        held.add_item(holder, item)
    assert len(held) == 4
    assert list(held.largest()) == [2, 3]
    held.discard_item("b", 2)
    held.discard_item("b", 2)
    held.discard_item("nobody", 2)
    held.discard_item("b", 3)
    assert len(held) == 2
    assert list(held.items_of("b")) == []
    assert list(held.largest()) == [1]
