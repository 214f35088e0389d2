"""Rates, of everything and of each key, by whatever clock; and that keys are forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from pybootd.core.rate_limit import RateLimit, TokenBucket, once_per


def passed(limit: RateLimit, times: int, now: float, key: str = "192.0.2.9") -> int:
    return sum(limit.take_token(key, now) for _ in range(times))


def test_so_many_at_once_then_so_many_a_second() -> None:
    limit = RateLimit(1000, 100)
    assert passed(limit, 2000, 10.0) == 1000
    assert [passed(limit, 2000, 10.0 + second) for second in (1, 2, 2.5)] == [100, 100, 50]
    assert passed(limit, 2000, 1000.0) == 1000
    assert passed(limit, 1, 1000.0, "192.0.2.10") == 1


def test_a_token_given_back_does_not_count() -> None:
    limit = RateLimit(10, 1)
    for _ in range(1000):
        assert limit.take_token("a", 10.0)
        limit.give_back("a")
    limit.give_back("b")  # forgotten meanwhile: nothing to do
    assert passed(limit, 100, 10.0, "a") == 10


def test_the_keys_are_bounded_and_a_busy_one_is_not_forgotten() -> None:
    limit = RateLimit(10, 1, max_keys=100)
    assert passed(limit, 100, 10.0) == 10
    for number in range(1000):
        passed(limit, 2, 10.0, str(number))
        assert not limit.take_token("192.0.2.9", 10.0)


def test_a_strict_limit_gives_new_keys_no_more_than_its_share() -> None:
    limit = once_per(60.0, max_keys=5)
    assert sum(limit.take_token(number, 0.0) for number in range(1000)) == 5
    assert sum(limit.take_token(number, 59.0) for number in range(1000)) == 0
    assert sum(limit.take_token(number, 60.0) for number in range(1000)) == 5


def test_once_per_minute_for_each_key() -> None:
    limit = once_per(60.0)
    times = [0.0, 1.0, 59.9, 60.0, 61.0, 120.0]
    assert [limit.take_token("x", now) for now in times] == [True, False, False, True, False, True]


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=200), st.integers(1, 20))
def test_no_clock_however_set_gives_more_than_the_rate(times: list[float], burst: int) -> None:
    """What passes in all is at most the burst and the rate times all seconds that went forward."""
    bucket = TokenBucket(burst, 2.0)
    forward = sum(max(0.0, b - a) for a, b in zip([0.0, *times], times, strict=False))
    assert sum(bucket.take_token(now) for now in times) <= burst + 2.0 * forward + 1e-6
