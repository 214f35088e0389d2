"""A flood fills no log."""

import logging

from pybootd.core.client import Client
from pybootd.observe.log.throttle import ALL, SOURCE, Throttle


def record(when: float, ip: str = "", message: str = "hello %s") -> logging.LogRecord:
    made = logging.LogRecord("pybootd", logging.INFO, "", 0, message, ("you",), None)
    made.created = when
    if ip:
        made.facts = {"ip": ip}
    return made


def passed(throttle: Throttle, count: int, when: float, ip: str = "") -> int:
    return sum(map(throttle.filter, (record(when, ip) for _ in range(count))))


def test_one_source_fills_neither_the_log_nor_the_room_of_others() -> None:
    throttle = Throttle()
    assert passed(throttle, 100_000, 0.0, "10.0.0.66") == SOURCE[0]
    assert passed(throttle, 10, 0.0, "10.0.0.1") == 10
    assert passed(throttle, 100_000, 10.0, "10.0.0.66") == SOURCE[1] * 10


def test_many_sources_together_are_bounded() -> None:
    throttle = Throttle()
    flood = [f"10.0.{number >> 8}.{number & 255}" for number in range(20_000)]
    assert sum(passed(throttle, 1, 0.0, ip) for ip in flood) == ALL[0]
    assert len(throttle._sources) <= 1_000
    assert passed(throttle, 10_000, 1.0) == ALL[1]


def test_a_storm_of_news_hides_no_warning() -> None:
    throttle = Throttle()
    while throttle.filter(record(0.0)):
        pass
    warning = record(0.0)
    warning.levelno = logging.WARNING
    assert throttle.filter(warning)


def test_a_client_without_an_address_is_one_source() -> None:
    throttle = Throttle()

    def from_client() -> logging.LogRecord:
        made = record(0.0)
        made.facts = {"client": Client(b"\2\0\0\0\0\1")}
        return made

    assert sum(throttle.filter(from_client()) for _ in range(1000)) == SOURCE[0]


def test_what_was_left_out_is_told() -> None:
    throttle = Throttle()
    passed(throttle, SOURCE[0] + 7, 0.0, "10.0.0.66")
    told = record(1.0, "10.0.0.66")
    assert throttle.filter(told)
    assert told.getMessage() == "hello you (7 earlier lines left out: too many at once)"
    again = record(1.0, "10.0.0.66")
    assert throttle.filter(again)
    assert again.getMessage() == "hello you"


def test_what_would_be_left_out_need_not_be_made() -> None:
    throttle = Throttle()
    for _ in range(SOURCE[0]):
        assert not throttle.leave_out_line("10.0.0.66", logging.INFO, 0.0)
        assert throttle.filter(record(0.0, "10.0.0.66"))
    for _ in range(7):
        assert throttle.leave_out_line("10.0.0.66", logging.INFO, 0.0)
    assert not throttle.leave_out_line("10.0.0.1", logging.INFO, 0.0)
    told = record(1.0, "10.0.0.66")
    assert throttle.filter(told)
    assert told.getMessage() == "hello you (7 earlier lines left out: too many at once)"


def test_news_that_fill_the_log_are_not_made_either() -> None:
    throttle = Throttle()
    while throttle.filter(record(0.0)):
        pass
    assert throttle.leave_out_line("10.0.0.66", logging.INFO, 0.0)
    assert not throttle.leave_out_line("10.0.0.66", logging.WARNING, 0.0)


def test_a_clock_that_is_set_back_silences_nobody_for_long() -> None:
    throttle = Throttle()
    passed(throttle, 100_000, 9_000.0, "10.0.0.66")
    assert passed(throttle, 9, 10.0, "10.0.0.66") == 0
    assert passed(throttle, 100, 11.0, "10.0.0.66") == SOURCE[1]
