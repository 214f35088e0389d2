"""Boots that administrators report: each fault gets its verdict, no healthy boot has a fault."""

from pathlib import Path

import pytest

from pybootd.core.finding import Grade

from . import corpus_later
from .corpus import CASES, Case
from .machines import Scene

assert corpus_later  # its cases are among them
FAULTS = [one for one in CASES if one.codes]
HEALTHY = [one for one in CASES if not one.codes]


def play(case: Case, folder: Path) -> Scene:
    scene = Scene(folder)
    case.act(scene)
    scene.wait(case.later)
    return scene


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.title)
def test_a_reported_fault_gets_its_verdict(tmp_path: Path, case: Case) -> None:
    found = [one for one in play(case, tmp_path).judge(case.machine) if one is not None]
    first = next((one for one in found if one.grade is Grade.FAULT), found[0] if found else None)
    assert first is not None
    told = " ".join((first.problem, first.advice, *first.evidence)).lower()
    assert first.code in case.codes, told
    for words in case.words:
        assert words.lower() in told


@pytest.mark.parametrize("case", HEALTHY, ids=lambda case: case.title)
def test_a_healthy_boot_has_no_fault(tmp_path: Path, case: Case) -> None:
    scene = play(case, tmp_path)
    faults = [
        one.code
        for one in scene.judge(case.machine)
        if one is not None and one.grade is Grade.FAULT
    ]
    assert faults == []
    assert scene.state(case.machine) in ("up", "quiet")
