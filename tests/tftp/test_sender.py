"""Playbooks of one transfer: what comes in when, what goes out."""

from functools import partial
from itertools import pairwise

import pytest

from pybootd.tftp.sender import (
    CLIENT_SILENT,
    TRANSFER_DONE,
    UNKNOWN_LAST_BLOCK,
    Sender,
    WindowedSender,
)


def transfer(
    last: int = 100, *, oack: bool = False, fixed: bool = False, timeout: float = 1.0
) -> Sender:
    made = Sender(last, timeout, retries=5, oack=oack, fixed=fixed)
    assert made.send_first_packet(0.0) == 1
    return made


def windowed(window: int, last: int = 100) -> WindowedSender:
    made = WindowedSender(last, window, 1.0, retries=5, oack=True, fixed=False)
    assert made.send_first_packet(0.0) == 1
    return made


def leaves(made: Sender, count: int) -> list[int]:
    """Name the blocks that a decision sends."""
    return list(range(made.first_to_send, made.first_to_send + count))


def play(made: Sender, *acks: int, now: float = 0.0) -> list[list[int]]:
    return [leaves(made, made.handle_ack(number, now)) for number in acks]


def silence(made: Sender, now: float, until: float = 60.0) -> list[tuple[float, list[int]]]:
    """Let the client be silent; return when which blocks left, until it is given up."""
    found = []
    while now < until:
        now = max(now, made.check_at)
        count = made.check_ack_timeout(now)
        if count == CLIENT_SILENT:
            found.append((round(now, 3), []))
            break
        if count:
            found.append((round(now, 3), leaves(made, count)))
    return found


def test_block_by_block_to_the_last() -> None:
    made = transfer(last=3)
    assert made.first_to_send == 1
    assert play(made, 1, 2) == [[2], [3]]
    assert made.handle_ack(3, 0.0) == TRANSFER_DONE


def test_the_oack_is_block_0() -> None:
    made = transfer(last=2, oack=True)
    assert made.first_to_send == 0
    assert made.never_answered
    assert play(made, 1, 0) == [[], [1]]  # an ACK of what was not sent says nothing
    assert not made.never_answered


def test_duplicate_and_old_acks_send_nothing() -> None:
    """RFC 1123 4.2.3.1: no Sorcerer's Apprentice."""
    made = transfer()
    assert play(made, 1, 1, 1, 0, 2, 1, 2, 65535) == [[2], [], [], [], [3], [], [], []]


def test_acks_of_what_was_never_sent_send_nothing() -> None:
    made = transfer()
    assert play(made, 2, 77, 40000) == [[], [], []]


def test_numbers_wrap() -> None:
    made = transfer(last=200_000)
    for block in range(1, 200_000):
        assert made.handle_ack(block & 0xFFFF, 0.0) == 1
        assert made.first_to_send == block + 1
    assert made.handle_ack(200_000 & 0xFFFF, 0.0) == TRANSFER_DONE


def test_a_window_leaves_for_each_ack_of_its_last_block() -> None:
    made = windowed(4, last=10)
    assert play(made, 0, 4, 8) == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert made.handle_ack(10, 0.0) == TRANSFER_DONE


def test_an_ack_in_mid_window_starts_the_new_window_right_behind_it() -> None:
    """RFC 7440 4."""
    made = windowed(4)
    assert play(made, 0, 2, 6) == [[1, 2, 3, 4], [3, 4, 5, 6], [7, 8, 9, 10]]


def test_a_duplicate_ack_in_a_window_sends_nothing() -> None:
    made = windowed(4)
    assert play(made, 0, 4, 4, 3, 0) == [[1, 2, 3, 4], [5, 6, 7, 8], [], [], []]


def test_windows_wrap() -> None:
    made = windowed(64, last=70_000)
    made.handle_ack(0, 0.0)
    while made.unacknowledged + 64 <= 70_000:
        assert made.handle_ack((made.unacknowledged + 63) & 0xFFFF, 0.0) == min(
            64, 70_001 - made.unacknowledged
        )
    assert made.handle_ack(70_000 & 0xFFFF, 0.0) == TRANSFER_DONE


def test_a_client_that_never_answers_is_sent_three_packets() -> None:
    """Its address may be forged, so what it is sent is bounded; it is waited for all the same."""
    assert silence(transfer(), 0.0) == [(1.0, [1]), (3.0, [1]), (5.999, [])]


def test_a_client_that_never_acknowledges_the_oack_gets_nothing_else() -> None:
    times = silence(windowed(64), 0.0)
    assert [blocks for _, blocks in times] == [[0], [0], []]


def test_a_late_answer_is_still_taken() -> None:
    made = transfer()
    for now in (1.0, 2.0, 3.0, 4.0):
        made.check_ack_timeout(now)
    assert made.awaits_first_ack
    assert made.handle_ack(1, 5.0) == 1
    assert not made.awaits_first_ack


def test_the_clients_own_timeout_is_kept() -> None:
    """RFC 2349: what was acknowledged holds, whatever the answers take; RFC 1123 4.2.3.2."""
    made = transfer(fixed=True, timeout=3.0)
    play(made, 1, 2, 3, now=0.001)
    assert silence(made, 0.001) == [(3.001, [4]), (9.001, [4]), (21.001, [4]), (30.0, [])]


def test_the_timeout_adapts_to_quick_answers_and_backs_off() -> None:
    made = transfer()
    play(made, 1, 2, now=0.001)
    times = [round(when - 0.001, 2) for when, _ in silence(made, 0.001)]
    assert times == [0.05, 0.15, 0.35, 0.75, 1.55, 3.15, 6.35, 12.75, 25.55, 30.0]


@pytest.mark.parametrize("oack", [False, True])
@pytest.mark.parametrize("windowsize", [1, 8])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("timeout", [0.2, 1.0, 4.0])
def test_each_wait_is_twice_the_one_before(
    oack: bool, windowsize: int, fixed: bool, timeout: float
) -> None:
    """RFC 1123 4.2.3.2: a MUST."""
    kind = Sender if windowsize == 1 else partial(WindowedSender, windowsize=windowsize)
    made = kind(100, timeout=timeout, retries=5, oack=oack, fixed=fixed)
    made.send_first_packet(0.0)
    if oack:
        made.handle_ack(0, 0.001)
    made.handle_ack(windowsize if oack else 1, 0.002)
    times = [0.002, *(when for when, blocks in silence(made, 0.002) if blocks)]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(waits) >= 3
    assert waits[0] <= timeout + 0.001
    assert all(later == pytest.approx(2 * earlier, abs=0.003) for earlier, later in pairwise(waits))


@pytest.mark.parametrize("pause", [7.0, 15.0, 29.0])
def test_a_client_that_pauses_and_goes_on_is_served(pause: float) -> None:
    """It erases its flash, say: reported of switches and of U-Boot's update command."""
    made = transfer()
    play(made, 1, 2, now=0.001)
    while made.check_at < pause:
        assert made.check_ack_timeout(made.check_at) == 1
    assert play(made, 3, now=pause) == [[4]]
    assert made.rto <= 1.0


def test_after_an_answer_the_next_loss_is_not_waited_for_longer_than_the_timeout() -> None:
    made = transfer()
    play(made, 1, now=0.001)
    while made.check_at < 10.0:
        made.check_ack_timeout(made.check_at)
    play(made, 2, now=10.0)
    assert made.check_at <= 11.0


def test_the_timeout_adapts_to_slow_answers() -> None:
    made = transfer()
    now = 0.0
    for block in range(1, 12):  # each answer takes 300 ms
        while made.check_at < now + 0.3:
            assert made.check_ack_timeout(made.check_at) == 0
        now += 0.3
        assert play(made, block, now=now) == [[block + 1]]
    assert made.retransmissions == 0
    assert 0.3 < made.rto < 1.0


def test_an_answer_to_a_block_sent_twice_tells_no_time() -> None:
    """Karn's rule: else the second sending's answer looks quick, and the next wait is too short."""
    made = transfer()
    assert made.check_ack_timeout(1.0) == 1
    play(made, 1, now=1.001)
    assert made.rto == 1.0


def test_the_answer_after_a_loss_goes_on_from_there() -> None:
    made = windowed(4, last=100)
    play(made, 0, now=0.001)
    assert made.check_ack_timeout(made.check_at) == 4
    assert leaves(made, 4) == [1, 2, 3, 4]
    assert play(made, 3, now=0.1) == [[4, 5, 6, 7]]  # it had them, its ACK was lost


def test_a_lost_window_costs_less_each_time() -> None:
    made = windowed(64, last=10_000)
    play(made, 0, now=0.001)
    counts = [len(blocks) for _, blocks in silence(made, 0.001)]
    assert counts[:6] == [64, 32, 16, 8, 4, 2]
    assert sum(counts) < 140


def test_a_client_that_repeats_its_last_ack_is_sent_the_whole_window_each_time() -> None:
    """It has all but the last block, say, whose repetition got lost too (found by bench/soak)."""
    made = windowed(4)
    play(made, 0, 4)
    for _ in range(3):
        assert leaves(made, made.check_ack_timeout(made.check_at)) == [5, 6, 7, 8]
        assert play(made, 4, now=made.last_progress) == [[]]
    made.check_ack_timeout(made.check_at)
    assert leaves(made, made.check_ack_timeout(made.check_at)) != [5, 6, 7, 8]  # silent now


def test_so_is_one_to_which_bursts_are_shorter_than_its_window() -> None:
    """It waits for the window's end, which no first burst of it holds (found by bench/soak)."""
    made = windowed(16, last=10_000)
    play(made, 0)
    for _ in range(3):  # only the first two of each window arrive
        play(made, made.unacknowledged + 1)
    assert made.burst == 4
    for _ in range(3):
        sent = leaves(made, made.check_ack_timeout(made.check_at))
        while made.window_unsent:
            sent += leaves(made, made.send_withheld(made.last_progress))
        assert sent == list(range(made.unacknowledged, made.unacknowledged + 16))
        assert play(made, made.unacknowledged - 1, now=made.last_progress) == [[]]
    made.check_ack_timeout(made.check_at)
    made.check_ack_timeout(made.check_at)
    assert not made.window_unsent  # silent now


def test_an_ack_of_the_whole_window_counts_after_a_short_repetition() -> None:
    made = windowed(16)
    play(made, 0)
    for _ in range(3):
        made.check_ack_timeout(made.check_at)
    assert play(made, 16, now=made.check_at) == [list(range(17, 33))]


def test_windows_lost_in_part_make_shorter_bursts_that_grow_again() -> None:
    made = windowed(16, last=10_000)
    assert len(play(made, 0)[0]) == 16
    # only the first two of each window arrive
    sizes = [len(play(made, (made.unacknowledged + 1) & 0xFFFF)[0]) for _ in range(3)]
    assert sizes == [16, 8, 4]
    # the window's rest follows in bursts
    assert leaves(made, made.send_withheld(0.0)) == list(
        range(made.unacknowledged + 4, made.unacknowledged + 8)
    )
    while made.window_unsent:
        assert made.send_withheld(0.0) == 4
    assert made.send_withheld(0.0) == 0
    sizes = []
    for _ in range(14):
        count = len(play(made, (made.window_end - 1) & 0xFFFF)[0])
        sizes.append(count)
        while made.window_unsent:
            count += made.send_withheld(0.0)
        assert count == 16
    assert sizes == [*range(5, 17), 16, 16]


def test_a_source_that_has_no_more_for_now_is_not_the_clients_fault() -> None:
    made = windowed(4, last=UNKNOWN_LAST_BLOCK)
    play(made, 0)
    made.source_empty = True
    made.withhold_from(3)  # blocks 1 and 2 left
    assert silence(made, 0.0, until=50.0) == []
    assert play(made, 3) == [[]]  # never sent
    made.source_empty = False
    assert leaves(made, made.send_withheld(50.0)) == [3, 4]
    assert play(made, 4, now=50.0) == [[5, 6, 7, 8]]


def test_a_window_whose_tail_got_lost_in_silence_makes_shorter_bursts() -> None:
    made = windowed(16, last=10_000)
    play(made, 0)
    made.check_ack_timeout(made.check_at)
    assert play(made, 15) == [list(range(16, 32))]  # one block was lost: that is not too much
    made.check_ack_timeout(made.check_at)
    assert play(made, 20) == [list(range(21, 29))]


@pytest.mark.parametrize("made", [transfer(oack=True), windowed(4)])
def test_a_clock_that_stands_still_harms_nothing(made: Sender) -> None:
    for block in (0, *range(made.windowsize, 100, made.windowsize)):
        made.handle_ack(block, 0.0)
        assert made.check_ack_timeout(0.0) == 0
    assert made.rto == 0.05
