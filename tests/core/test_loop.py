"""The select loop: files, timers, workers, signals."""

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from pybootd.loop import Later, Loop, Outcome


@pytest.fixture
def loop() -> Iterator[Loop]:
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


def test_a_callback_that_raises_ends_nothing_else(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = socket.socketpair()
    got: list[str] = []

    def bad(now: float) -> None:
        here.recv(9)
        raise KeyError

    loop.watch(here, bad)
    loop.at(0.0, lambda now: got.append(str(1 // 0)))
    loop.at(0.0, lambda now: got.append("after"))
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
    loop.at(6.0, lambda now: ran.append(f"second at {now}"))
    loop.at(5.0, lambda now: ran.append("first"))
    gone = loop.at(5.5, lambda now: ran.append("never"))
    loop.at(15.0, lambda now: ran.append("third"))
    gone.cancel()
    loop.post(lambda now: None)  # something is due at once: the clock is read once a turn
    loop.turn()
    assert ran == ["first", "second at 10.0"]
    loop.post(lambda now: None)
    loop.turn()
    assert ran[2:] == ["third"]
    loop.close()


def test_a_worker_call_comes_back_in_the_loops_thread(loop: Loop) -> None:
    came: list[tuple[object, threading.Thread]] = []

    def done(outcome: Outcome[int], now: float) -> None:
        came.append((outcome.get(), threading.current_thread()))

    loop.work(Later(lambda: 6 * 7), done)
    while not came:
        loop.turn(1.0)
    assert came == [(42, threading.main_thread())]


def test_a_worker_call_that_raises_says_so(loop: Loop) -> None:
    came: list[Outcome[int]] = []
    loop.work(Later(lambda: 1 // 0), lambda outcome, now: came.append(outcome))
    while not came:
        loop.turn(1.0)
    with pytest.raises(ZeroDivisionError):
        came[0].get()


def test_a_pool_that_is_stuck_delays_no_other(loop: Loop) -> None:
    stuck = threading.Event()
    came: list[int] = []
    for _ in range(40):
        loop.work(Later(stuck.wait, "slow"), lambda outcome, now: None)
    loop.work(Later(lambda: 1, "quick"), lambda outcome, now: came.append(outcome.get()))
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
    loop.after(0.0, lambda now: loop.stop())
    loop.run()
