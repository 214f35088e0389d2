"""The select loop: files, timers, workers, signals."""

import os
import selectors
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from pybootd.core import loop as looping
from pybootd.core.loop import Loop
from pybootd.core.workers import Later, TaskResult


@pytest.fixture(params=[looping.Poller, looping.Selector])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setattr(looping, "Poller", request.param)
    if request.param is looping.Selector:
        monkeypatch.setattr(looping, "_READ", selectors.EVENT_READ)
        monkeypatch.setattr(looping, "_WRITE", selectors.EVENT_WRITE)
        monkeypatch.setattr(looping, "_ONCE", 0)
    made = Loop()
    made.open()
    yield made
    made.close()


def test_a_readable_socket_calls_back(loop: Loop) -> None:
    here, there = socket.socketpair()
    got: list[bytes] = []
    loop.watch(here, lambda now: got.append(here.recv(9)))
    there.send(b"word")
    loop.turn(1.0)
    assert got == [b"word"]
    loop.unwatch(here)
    there.send(b"more")
    loop.turn(0.0)
    assert got == [b"word"]
    here.close()
    there.close()


def test_a_writable_socket_calls_back_until_it_is_watched_otherwise(loop: Loop) -> None:
    here, there = socket.socketpair()
    got: list[str] = []

    def read(now: float) -> None:
        got.append(f"read {len(here.recv(9))}")
        loop.unwatch(here)

    loop.watch(here, None, lambda now: got.append("write"))
    loop.turn(1.0)
    loop.watch(here, read, lambda now: got.append("write"))
    loop.turn(1.0)
    there.send(b"word")
    loop.turn(1.0)  # its reader ends the watch: the writer isn't called any more
    loop.turn(0.0)
    assert got == ["write", "write", "read 4"]
    here.close()
    there.close()


def test_each_arrival_calls_back_once(loop: Loop) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    got: list[bytes] = []
    loop.watch(here, lambda now: got.append(here.recv(9)), once=True)
    for word in (b"one", b"two"):
        there.send(word)
        loop.turn(1.0)
        loop.turn(0.0)
    assert got == [b"one", b"two"]
    here.close()
    there.close()


def test_the_other_sides_end_is_something_to_read(loop: Loop) -> None:
    here, there = socket.socketpair()
    got: list[bytes] = []
    loop.watch(here, lambda now: got.append(here.recv(9)))
    there.close()
    loop.turn(1.0)
    assert got == [b""]
    assert loop.watched == 1
    loop.unwatch(here)
    assert loop.watched == 0
    here.close()


def test_a_file_closed_by_another_callback_of_the_turn_is_not_called(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    got: list[int] = []

    def read(index: int) -> None:
        got.append(index)
        for here, _ in pairs:
            loop.unwatch(here)

    for index, (here, there) in enumerate(pairs):
        loop.watch(here, lambda now, index=index: read(index))  # type: ignore[misc]
        there.send(b"x")
    loop.turn(1.0)
    assert len(got) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_callback_that_raises_ends_nothing_else(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = socket.socketpair()
    got: list[str] = []

    def bad(now: float) -> None:
        here.recv(9)
        raise KeyError

    loop.watch(here, bad)
    loop.call_at(0.0, lambda now: got.append(str(1 // 0)))
    loop.call_at(0.0, lambda now: got.append("after"))
    there.send(b"x")
    loop.turn(1.0)
    assert got == ["after"]
    assert caplog.text.count("Traceback") == 2
    here.close()
    there.close()


def test_timers_run_in_order_and_can_be_taken_back() -> None:
    clock = iter((0.0, 10.0, 20.0, 20.0))
    loop = Loop(lambda: next(clock))
    loop.open()
    ran: list[str] = []
    loop.call_at(6.0, lambda now: ran.append(f"second at {now}"))
    loop.call_at(5.0, lambda now: ran.append("first"))
    gone = loop.call_at(5.5, lambda now: ran.append("never"))
    loop.call_at(15.0, lambda now: ran.append("third"))
    gone.cancel()
    loop.call_from_thread(
        lambda now: None
    )  # something is due at once: the clock is read once a turn
    loop.turn()
    assert ran == ["first", "second at 10.0"]
    loop.call_from_thread(lambda now: None)
    loop.turn()
    assert ran[2:] == ["third"]
    loop.close()


def test_a_worker_call_comes_back_in_the_loops_thread(loop: Loop) -> None:
    came: list[tuple[object, threading.Thread]] = []

    def done(outcome: TaskResult[int], now: float) -> None:
        came.append((outcome.get(), threading.current_thread()))

    loop.run_in_worker(Later(lambda: 6 * 7), done)
    while not came:
        loop.turn(1.0)
    assert came == [(42, threading.main_thread())]


def test_a_worker_call_that_raises_says_so(loop: Loop) -> None:
    came: list[TaskResult[int]] = []
    loop.run_in_worker(Later(lambda: 1 // 0), lambda outcome, now: came.append(outcome))
    while not came:
        loop.turn(1.0)
    with pytest.raises(ZeroDivisionError):
        came[0].get()


def test_a_pool_that_is_stuck_delays_no_other(loop: Loop) -> None:
    stuck = threading.Event()
    came: list[int] = []
    for _ in range(40):
        loop.run_in_worker(Later(stuck.wait, "slow"), lambda outcome, now: None)
    loop.run_in_worker(Later(lambda: 1, "quick"), lambda outcome, now: came.append(outcome.get()))
    while not came:
        loop.turn(1.0)
    stuck.set()


def test_a_signal_is_handled_in_a_turn(loop: Loop) -> None:
    got: list[str] = []
    loop.on_signal(signal.SIGUSR1, lambda now: got.append("usr1"))
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.turn(1.0)
    assert got == ["usr1"]


def test_stop_ends_run(loop: Loop) -> None:
    loop.call_later(0.0, lambda now: loop.stop())
    loop.run()
