"""Programs go by types: no sentence decides, whatever it says."""

import ast
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pybootd.config.options.service import LoggerConfig
from pybootd.core import events
from pybootd.core.events import EndCause, FileProblem, RefusalCause, TransferOutcome
from pybootd.observe.log.event_log import EventLog
from pybootd.observe.log.handlers import open_log
from tests.status.looking import Rig

from .placeholder import WORDS, replace_sentences
from .story import IPXE, SYSTEM, UEFI, A

CODE = Path(__file__).parents[2] / "pybootd"
FOR_PEOPLE = {"advice", "detail", "message", "reason", "said", "strerror"}
"""Attributes that hold a sentence, on whatever object."""
SEARCHES = {"search", "match", "fullmatch", "findall", "finditer", "split", "sub", "compile"}
METHODS = {"startswith", "endswith", "find", "index", "count"}


def is_sentence(node: ast.AST) -> bool:
    """Tell whether an expression is a sentence: such an attribute, or an exception's text."""
    if isinstance(node, ast.Attribute):
        return node.attr in FOR_PEOPLE
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("str", "repr")
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Name)
        and node.args[0].id in ("error", "err", "exc", "event", "refused")
    )


def find_comparisons(code: str) -> Iterator[int]:
    """Yield the lines in which a sentence is compared, searched or taken apart."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Compare(left=left, comparators=others, ops=ops):
                plain = all(
                    isinstance(other, ast.Constant) and other.value == "" for other in others
                )
                identity = all(isinstance(op, ast.Is | ast.IsNot) for op in ops)
                if not plain and not identity and any(map(is_sentence, (left, *others))):
                    yield node.lineno
            case ast.Call(func=ast.Attribute(value=value, attr=attr), args=arguments):
                if attr in METHODS and is_sentence(value):
                    yield node.lineno
                if attr in SEARCHES and any(map(is_sentence, arguments)):
                    yield node.lineno


@pytest.mark.parametrize(
    "line",
    [
        'if "no such" in str(error): pass',
        "if step.reason == LAST: pass",
        "found = PATTERN.search(event.reason)",
        "if error.message.startswith('x'): pass",
    ],
)
def test_a_sentence_that_is_compared_is_found(line: str) -> None:
    assert list(find_comparisons(line)) == [1]


def test_no_code_compares_or_searches_a_sentence() -> None:
    found = [
        f"{path.relative_to(CODE)}:{line}"
        for path in sorted(CODE.rglob("*.py"))
        for line in find_comparisons(path.read_text(encoding="utf-8"))
    ]
    assert found == []


# with every sentence replaced, the same verdicts, levels and codes


def miss(rig: Rig) -> None:
    rig.lease()
    rig.miss("loader.efi")


def refuse(cause: RefusalCause) -> Callable[[Rig], None]:
    return lambda rig: rig.refuse(cause=cause)


def file_refused(problem: FileProblem, *, unavailable: bool = False) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.lease()
        why = "http://10.0.0.1/x: 403 Forbidden; t.j2 line 3: not what [pins] says; no such file"
        rig.tell(
            events.TransferRefused(
                "http", str(A), "x.cfg", why, False, unavailable=unavailable, problem=problem
            )
        )

    return act


def ended(outcome: TransferOutcome, cause: EndCause, size: int, sent: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        if not rig.boots():
            rig.lease()
        rig.start("loader.efi", size)
        rig.tell(
            events.TransferEnded(
                "tftp", str(A), "loader.efi", "loader.efi", sent, 1.0, 0, outcome, "why", cause
            )
        )

    return act


def asked_again(rig: Rig) -> None:
    for _ in range(4):
        ended(TransferOutcome.ABORTED, EndCause.ASKED_AGAIN, 9000, 0)(rig)


def loop(rig: Rig) -> None:
    rig.lease()
    rig.fetch("loader.efi")
    for _ in range(3):
        rig.lease(IPXE)
        rig.fetch("loader.efi")


CASES: list[tuple[Callable[[Rig], None], str, str]] = [
    (miss, "failed", "missing-file"),
    (refuse(RefusalCause.ACCESS), "failed", "refused"),
    (refuse(RefusalCause.NO_ACCESS), "failed", "authorization-silent"),
    (refuse(RefusalCause.POOL), "failed", "pool-empty"),
    (refuse(RefusalCause.NO_FILE), "failed", "no-boot-file"),
    (refuse(RefusalCause.WRONG_ADDRESS), "failed", "refused-address"),
    (file_refused(FileProblem.OUTSIDE_ROOT), "failed", "forbidden-file"),
    (file_refused(FileProblem.ALTERED), "failed", "forbidden-file"),
    (file_refused(FileProblem.ORIGIN_STATUS), "failed", "origin-down"),
    (file_refused(FileProblem.TEMPLATE, unavailable=True), "failed", "template"),
    (file_refused(FileProblem.ORIGIN_UNREACHABLE, unavailable=True), "failed", "origin-down"),
    (ended(TransferOutcome.FAILED, EndCause.FILE, 9000, 10), "failed", "origin-down"),
    (ended(TransferOutcome.TIMEOUT, EndCause.NONE, 9000, 5000), "failed", "gave-up"),
    (ended(TransferOutcome.TIMEOUT, EndCause.LAST_ACK_MISSING, 900, 512), "quiet", "stopped"),
    (asked_again, "failed", "answer-lost"),
    (loop, "failed", "ipxe-loop"),
]


@pytest.mark.parametrize(("act", "state", "verdict"), CASES)
@pytest.mark.parametrize("blank", [False, True])
def test_the_verdict_is_the_same_whatever_the_sentences_say(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Rig], None],
    state: str,
    verdict: str,
    blank: bool,
) -> None:
    if blank:
        replace_sentences(monkeypatch)
    rig = Rig(tmp_path)
    try:
        act(rig)
        rig.pass_time(60)
        rig.settle()
        (row,) = rig.json("/api/clients")["clients"]
        assert (row["state"], row["verdict"]["name"]) == (state, verdict)
        if blank:
            assert (row["verdict"]["what"], row["verdict"]["advice"]) == (WORDS, WORDS)
            assert row["stage"] == WORDS
    finally:
        rig.close()


def told(path: Path, *happened: object) -> list[dict[str, Any]]:
    """Log the events as JSON; return the lines without what is for people."""
    handler = open_log(LoggerConfig(type="file", file=path, format="json"))
    bus = events.EventBus()
    EventLog(bus)
    for event in happened:
        bus.publish(event)
    logging.getLogger("pybootd").removeHandler(handler)
    handler.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("time", "message", "reason")}
        for line in lines
    ]


def test_the_log_has_the_same_levels_and_codes_whatever_the_sentences_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = [
        events.TransferEnded(
            "tftp", str(A), "k", "k", 9, 1.0, 0, TransferOutcome.TIMEOUT, "", cause
        )
        for cause in EndCause
    ]
    happened += [
        events.TransferRefused("tftp", str(A), "k", "words", missing, problem=problem)
        for problem in FileProblem
        for missing in (False, True)
    ]
    happened += [events.Refused(UEFI, "words", cause=cause) for cause in RefusalCause]
    happened += [
        events.AddressConflict(SYSTEM, A, cause, b"\2" * 6) for cause in events.ConflictCause
    ]
    plain = told(tmp_path / "plain", *happened)
    replace_sentences(monkeypatch)
    assert told(tmp_path / "blank", *happened) == plain
    assert len(plain) == len(happened)
    assert {line.get("cause", "") for line in plain} >= {one.value for one in EndCause}
    assert {line.get("problem") for line in plain} >= {one.value for one in FileProblem}
    levels = {line.get("cause"): line["level"] for line in plain if line.get("octets") == 9}
    assert levels["last-ack-missing"] == "info"
    assert levels["port-closed"] == "warning"
