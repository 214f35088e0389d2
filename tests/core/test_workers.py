"""Who waits for workers, and for how long: owners take turns, and no queue grows for ever."""

import threading

from pybootd.core.loop import Loop
from pybootd.core.workers import Later, TaskResult, TooManyWaitingError, WorkerPool


class Blocked:
    """Calls that wait until they are let go, and the names of those that were made, in order."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.go_on = threading.Event()
        self._lock = threading.Lock()
        self._made = threading.Condition(self._lock)

    def call(self, name: str) -> None:
        with self._made:
            self.made.append(name)
            self._made.notify_all()
        self.go_on.wait(10)

    def wait_for(self, count: int) -> list[str]:
        with self._made:
            assert self._made.wait_for(lambda: len(self.made) >= count, 10)
            return list(self.made)


def test_an_owner_with_many_calls_delays_another_by_one() -> None:
    pool, calls = WorkerPool("test", 1), Blocked()
    pool.submit(lambda: calls.call("first"), "greedy")
    calls.wait_for(1)
    for number in range(100):
        pool.submit(lambda number=number: calls.call(f"greedy {number}"), "greedy")  # type: ignore[misc]
    pool.submit(lambda: calls.call("honest"), "honest")
    calls.go_on.set()
    assert calls.wait_for(102)[:3] == ["first", "greedy 0", "honest"]


def test_an_owner_whose_calls_hang_leaves_half_of_the_threads() -> None:
    pool, calls = WorkerPool("test", 4), Blocked()
    for number in range(10):
        pool.submit(lambda number=number: calls.call(f"stuck {number}"), "stuck")  # type: ignore[misc]
    calls.wait_for(2)
    pool.submit(lambda: calls.call("honest"), "honest")
    assert calls.wait_for(3) == ["stuck 0", "stuck 1", "honest"]
    calls.go_on.set()
    assert len(calls.wait_for(11)) == 11


def test_calls_of_nobody_in_particular_have_all_threads() -> None:
    pool, calls = WorkerPool("test", 4), Blocked()
    for number in range(4):
        pool.submit(lambda number=number: calls.call(str(number)))  # type: ignore[misc]
    assert calls.wait_for(4) == ["0", "1", "2", "3"]
    calls.go_on.set()


def test_when_too_many_wait_the_owner_with_the_most_gives_way() -> None:
    pool, calls, refused = WorkerPool("test", 1, max_waiting=10), Blocked(), list[str]()
    pool.submit(lambda: calls.call("first"))
    calls.wait_for(1)
    for _ in range(9):
        pool.submit(lambda: calls.call("greedy"), "greedy", lambda: refused.append("greedy"))
    for number in range(5):
        name = f"honest {number}"
        pool.submit(
            lambda name=name: calls.call(name),  # type: ignore[misc]
            name,
            lambda name=name: refused.append(name),  # type: ignore[misc]
        )
    assert refused == ["greedy"] * 4
    calls.go_on.set()
    made = calls.wait_for(11)
    assert {f"honest {number}" for number in range(5)} <= set(made)


def test_a_refused_call_is_told_to_who_asked() -> None:
    loop, results = Loop(), list[TaskResult[bool]]()
    loop.open()
    hold = threading.Event()
    for _ in range(1100):
        later = Later(lambda: hold.wait(10), "slow", 1, "greedy")
        loop.run_in_worker(later, lambda result, now: results.append(result))
    while not results:
        loop.turn(1.0)
    hold.set()
    loop.close()
    assert isinstance(results[0].error, TooManyWaitingError)
