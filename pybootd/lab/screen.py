"""What the demo shows: plain lines, bars on a terminal, a timeline at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console as Terminal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from pybootd.lab.console import Console, Line

_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:INFO +)?")
BULK = 100_000  # octets; below, a speed tells nothing
_WIDTH = 24  # of the timeline's bars, characters


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a boot: seconds since power on, alike for a moment; ``size`` in octets, or 0."""

    name: str
    began: float
    ended: float
    size: int = 0
    remark: str = ""


class Screen:
    """A terminal, or a file or pipe that gets the same as plain lines."""

    def __init__(self) -> None:
        self.terminal = Terminal(highlight=False, soft_wrap=True)
        plain = (self.terminal.encoding or "").lower().replace("-", "") != "utf8"
        self._bar, self._side = ("#", "|") if plain else ("\u2588", "\u2502")

    def heading(self, text: str) -> None:
        """Show a heading, an empty line before it."""
        self.terminal.print(Text(f"\n{text}", style="bold"))

    def say(self, text: str, style: str = "") -> None:
        """Show a line; what stands in brackets is no markup."""
        self.terminal.print(Text(f"  {text}", style=style))

    def at(self, seconds: float, text: str) -> None:
        """Show what happened at a moment since power on."""
        self.say(f"{seconds:7.2f} s  {text}")

    def daemon(self, console: Console) -> list[Line]:
        """Show what the daemon has logged since the last call, and return it without its times."""
        lines = [Line(line.seconds, _STAMP.sub("", line.text)) for line in console.lines()]
        for line in lines:
            self.say(f"   pybootd {self._side} {line.text}", style="dim")
        return lines

    def fetched(self, seconds: float, name: str, octets: int) -> None:
        """Say that a file has come, where no bar has shown it."""
        if not self.terminal.is_terminal:
            self.at(seconds, f"{name} is here: {size(octets)}")

    def fault(self, text: str) -> None:
        """Show on stderr why the demo came to a bad end: one clear line, then any details."""
        reason, _, details = text.partition("\n")
        errors = Terminal(stderr=True, highlight=False, soft_wrap=True)
        errors.print(Text(f"pybootd demo: {reason}", style="red"))
        if details:
            errors.print(Text(details, style="dim"))

    @contextmanager
    def bar(self, name: str) -> Iterator[Callable[[int, int | None], None]]:
        """Show a file's progress: call back with the octets that are here and that will be."""
        columns = (
            TextColumn("             {task.description:20}"),
            BarColumn(_WIDTH, complete_style="green", finished_style="green"),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        with Progress(
            *columns, console=self.terminal, disable=not self.terminal.is_terminal
        ) as progress:
            task = progress.add_task(name, total=None)
            yield lambda here, total: progress.update(task, completed=here, total=total)

    def timeline(self, stages: Sequence[Stage]) -> None:
        """Show when each stage was, what it fetched and how fast."""
        self.heading("timeline")
        whole = max((stage.ended for stage in stages), default=0.0) or 1.0
        for stage in stages:
            left = min(int(stage.began / whole * _WIDTH), _WIDTH - 1)
            right = max(round(stage.ended / whole * _WIDTH), left + 1)
            bar = (" " * left + self._bar * (right - left)).ljust(_WIDTH)
            line = f"{stage.began:7.2f} s  {bar}  {stage.name:24} {_took(stage)}"
            self.say(f"{line}  {stage.remark}".rstrip())
        self.terminal.print()


def _took(stage: Stage) -> str:
    seconds = stage.ended - stage.began
    if not seconds:
        return ""
    took = f"{seconds:6.2f} s" if seconds >= 0.1 else f"{seconds * 1000:5.1f} ms"
    if not stage.size:
        return f"{took:31}"
    fetched = f"{took}  {size(stage.size):>8}"
    speed = f"{stage.size / max(seconds, 1e-6) / 1e6:5.0f} MB/s" if stage.size >= BULK else ""
    return f"{fetched}  {speed:10}"


def size(octets: int) -> str:
    """Write a size for people."""
    return f"{octets / 1e6:.1f} MB" if octets >= BULK else f"{octets} B"
