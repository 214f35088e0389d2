"""Which step of the loader's sequence was due and did not come."""

from __future__ import annotations

from pybootd.observe.boots.loaders import find_stage, is_loader_configuration
from pybootd.observe.boots.roles import FileRole
from pybootd.observe.boots.steps import BootTransfer
from pybootd.observe.diagnosis import verdicts
from pybootd.observe.diagnosis.evidence import QUIET, Evidence
from pybootd.observe.diagnosis.verdicts import Certainty, Diagnosis, as_note


def loader_stopped(case: Evidence) -> Diagnosis | None:
    """Find that a loader came, or its configuration, and not what it asks for next."""
    newest = case.newest
    if not isinstance(newest, BootTransfer) or not newest.came or not case.is_silent(QUIET):
        return None
    return _names_not_asked_for(case, newest) or _stage_not_reached(newest)


def _names_not_asked_for(case: Evidence, newest: BootTransfer) -> Diagnosis | None:
    """Find a file that the configuration names, and that nothing asked for.

    Loaders ask at once, unless somebody has to choose.
    """
    config = case.newest_configuration()
    if config is None:
        return None
    file, content = config
    due = case.due_names()
    fetched_one = newest is not file
    if not due or content.exits or (content.waits and not fetched_one):
        return None
    elsewhere = "://" in due[0] and not case.is_served_here(due[0])
    if fetched_one and newest.role is not FileRole.KERNEL:
        return None
    kind = verdicts.LOADER_STOPPED
    certainty = Certainty.LIKELY
    if elsewhere:
        kind, certainty = as_note(kind), Certainty.UNKNOWN
        advice = (
            f"{due[0]} is on another server: see whether that is up, reached from the machine's"
            " network, and has the file."
        )
    else:
        advice = (
            "The loader stopped before it: look at its screen. It may have refused"
            f" {newest.requested}, or look for {due[0]} somewhere else."
        )
    return kind.diagnose(
        f"{newest.requested} came, and {due[0]}, which {file.requested} names next, was never asked"
        " for.",
        advice,
        f"{file.requested} is {content.text} and names {', '.join(content.names)}",
        f"last file: {newest.requested}",
        certainty=certainty,
    )


def _stage_not_reached(newest: BootTransfer) -> Diagnosis | None:
    if is_loader_configuration(newest.requested):
        return None
    stage = find_stage(newest.requested)
    if stage is None:
        return None
    kind = verdicts.LOADER_STOPPED if stage.always else as_note(verdicts.LOADER_STOPPED)
    return kind.diagnose(
        f"{newest.requested} came, and {stage.what} never asked for {stage.next}.",
        stage.hint.format(came=newest.requested, next=stage.next),
        f"last file: {newest.requested}; due next: {stage.next}",
        certainty=Certainty.LIKELY if stage.always else Certainty.UNKNOWN,
    )
