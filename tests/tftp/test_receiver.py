"""Which block of an upload is taken, and what is acknowledged when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.tftp.receiver import Receiver, ReceiverAction

NOTHING, STORE, ACKNOWLEDGE = (
    ReceiverAction.NOTHING,
    ReceiverAction.STORE,
    ReceiverAction.ACKNOWLEDGE,
)


def reception(window: int = 1, received: int = 0) -> Receiver:
    made = Receiver(512, window, 1.0, 5)
    made.start_waiting(0.0)
    for number in range(1, received + 1):
        assert STORE in made.handle_data(number & 0xFFFF, 512, 0.0)
    return made


def test_each_block_is_stored_and_acknowledged() -> None:
    one = reception()
    assert one.never_answered
    assert one.handle_data(1, 512, 0.1) == STORE | ACKNOWLEDGE
    assert (one.received, one.never_answered, one.complete) == (1, False, False)
    # the last one is acknowledged once it is on disk
    assert one.handle_data(2, 511, 0.2) == STORE
    assert one.complete


def test_a_block_that_comes_again_is_acknowledged_again_and_not_stored() -> None:
    one = reception(received=2)
    assert one.handle_data(2, 512, 0.1) == ACKNOWLEDGE
    assert one.handle_data(1, 512, 0.1) == NOTHING
    assert one.handle_data(4, 512, 0.1) == NOTHING
    assert one.received == 2


def test_a_window_is_acknowledged_once() -> None:
    one = reception(window=4)
    assert [one.handle_data(number, 512, 0.0) for number in range(1, 9)] == [
        *[STORE] * 3,
        STORE | ACKNOWLEDGE,
        *[STORE] * 3,
        STORE | ACKNOWLEDGE,
    ]


def test_a_gap_in_a_window_is_told_once_and_starts_the_window_again() -> None:
    """RFC 7440 4."""
    one = reception(window=4, received=4)
    assert one.handle_data(5, 512, 0.0) == STORE
    assert one.handle_data(7, 512, 0.0) == ACKNOWLEDGE
    assert one.received == 5
    assert one.handle_data(8, 512, 0.0) == NOTHING
    assert [one.handle_data(number, 512, 0.0) for number in range(6, 10)] == [
        *[STORE] * 3,
        STORE | ACKNOWLEDGE,
    ]


def test_a_window_whose_acknowledgement_got_lost_comes_again() -> None:
    one = reception(window=4, received=4)
    assert [one.handle_data(number, 512, 0.0) for number in range(1, 5)] == [
        *[NOTHING] * 3,
        ACKNOWLEDGE,
    ]
    assert one.received == 4


def test_numbers_wrap() -> None:
    one = reception(received=65535)
    assert one.handle_data(0, 512, 0.0) == STORE | ACKNOWLEDGE
    assert one.handle_data(1, 512, 0.0) == STORE | ACKNOWLEDGE
    assert one.received == 65537


def test_the_last_answer_is_sent_again_and_a_silent_client_is_given_up() -> None:
    one = reception(window=4, received=2)
    assert one.check_data_timeout(0.9) == NOTHING
    assert one.check_data_timeout(1.0) == ACKNOWLEDGE
    assert [
        one.check_data_timeout(second) for second in (2.9, 3.0, 6.9, 7.0, 14.9, 15.0, 29.9)
    ] == [
        *[NOTHING, ACKNOWLEDGE] * 3,
        NOTHING,
    ]
    assert one.check_data_timeout(30.0) == ReceiverAction.GIVE_UP


def test_a_client_that_never_sends_a_block_is_answered_three_times() -> None:
    one = reception()
    assert [one.check_data_timeout(float(second)) for second in range(1, 7)] == [
        *[ACKNOWLEDGE, NOTHING] * 2,
        NOTHING,
        ReceiverAction.GIVE_UP,
    ]
    assert one.retransmissions == 2


@pytest.mark.parametrize("window", [1, 2, 7])
@given(numbers=st.lists(st.integers(0, 30), max_size=200))
def test_whatever_comes_the_blocks_are_stored_once_and_in_order(
    window: int, numbers: list[int]
) -> None:
    one = reception(window)
    stored = [number for number in numbers if STORE in one.handle_data(number, 512, 0.0)]
    assert stored == list(range(1, one.received + 1))
