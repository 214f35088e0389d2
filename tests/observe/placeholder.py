"""Every human sentence of events, exceptions and verdicts replaced by a placeholder."""

import dataclasses
from typing import Any

import pytest

from pybootd.core.events import EventBus
from pybootd.files.source import FileError
from pybootd.observe import wording
from pybootd.observe.diagnosis.verdicts import VerdictKind

WORDS = "-"
SENTENCES = ("reason", "text")
"""The fields of events that are for people."""


def replace_sentences(patch: pytest.MonkeyPatch) -> None:
    """Let nothing be said from now on but by types."""
    publish, diagnose = EventBus.publish, VerdictKind.diagnose

    def publish_blank(self: EventBus, event: Any) -> None:
        given = {name: WORDS for name in SENTENCES if getattr(event, name, "")}
        if given and dataclasses.is_dataclass(event):
            event = dataclasses.replace(event, **given)
        elif given:
            event = event._replace(**given)
        publish(self, event)

    def diagnose_blank(self: VerdictKind, *sentences: str, **more: Any) -> Any:
        return diagnose(self, WORDS, WORDS, *(WORDS for _ in sentences[2:]), **more)

    patch.setattr(EventBus, "publish", publish_blank)
    patch.setattr(VerdictKind, "diagnose", diagnose_blank)
    patch.setattr(FileError, "__str__", lambda self: WORDS)
    for table in ("OUTCOMES", "ENDS", "STAGES"):
        blank = dict.fromkeys(getattr(wording, table), WORDS)
        patch.setattr(wording, table, blank)
        for user in ("diagnosis.file", "diagnosis.transfer"):
            patch.setattr(f"pybootd.observe.{user}.{table}", blank, raising=False)
        for user in ("documents", "rows"):
            patch.setattr(f"pybootd.status.{user}.{table}", blank, raising=False)
