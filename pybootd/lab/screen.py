"""What the demo shows: plain lines, bars on a terminal, a timeline at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console as Terminal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from pybootd.lab.console import Console

MIN_TIMED_OCTETS = 100_000
"""A smaller file's speed tells nothing."""
_BAR_WIDTH = 24  # characters


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

    def print_heading(self, text: str) -> None:
        """Show a heading, an empty line before it."""
        self.terminal.print(Text(f"\n{text}", style="bold"))

    def print_line(self, text: str, style: str = "") -> None:
        """Show a line; what stands in brackets is no markup."""
        self.terminal.print(Text(f"  {text}", style=style))

    def print_moment(self, seconds: float, text: str) -> None:
        """Show what happened at a moment since power on."""
        self.print_line(f"{seconds:7.2f} s  {text}")

    def print_daemon_log(self, console: Console) -> bool:
        """Show what the daemon has logged since the last call; tell whether it was faultless.

        Its log is in JSON (``[logger] format``); what is not, it said before it had one.
        """
        faultless = True
        for line in console.read_lines():
            entry = _parse_log_line(line.text)
            faultless = faultless and "traceback" not in entry
            for shown in (entry.get("message", line.text), *entry.get("traceback", "").split("\n")):
                if shown:
                    self.print_line(f"   pybootd {self._side} {shown}", style="dim")
        return faultless

    def print_fetched(self, seconds: float, name: str, octets: int) -> None:
        """Say that a file has come, where no bar has shown it."""
        if not self.terminal.is_terminal:
            self.print_moment(seconds, f"{name} is here: {format_octets(octets)}")

    def print_fault(self, text: str) -> None:
        """Show on stderr why the demo ended early: one clear line, then any details."""
        reason, _, details = text.partition("\n")
        errors = Terminal(stderr=True, highlight=False, soft_wrap=True)
        errors.print(Text(f"pybootd demo: {reason}", style="red"))
        if details:
            errors.print(Text(details, style="dim"))

    @contextmanager
    def show_bar(self, name: str) -> Iterator[Callable[[int, int | None], None]]:
        """Show a file's progress: call back with the octets that are here and that will be."""
        columns = (
            TextColumn("             {task.description:20}"),
            BarColumn(_BAR_WIDTH, complete_style="green", finished_style="green"),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        with Progress(
            *columns, console=self.terminal, disable=not self.terminal.is_terminal
        ) as progress:
            task = progress.add_task(name, total=None)
            yield lambda here, total: progress.update(task, completed=here, total=total)

    def print_timeline(self, stages: Sequence[Stage]) -> None:
        """Show when each stage was, what it fetched and how fast."""
        self.print_heading("timeline")
        whole = max((stage.ended for stage in stages), default=0.0) or 1.0
        for stage in stages:
            left = min(int(stage.began / whole * _BAR_WIDTH), _BAR_WIDTH - 1)
            right = max(round(stage.ended / whole * _BAR_WIDTH), left + 1)
            bar = (" " * left + self._bar * (right - left)).ljust(_BAR_WIDTH)
            line = f"{stage.began:7.2f} s  {bar}  {stage.name:24} {_describe_duration(stage)}"
            self.print_line(f"{line}  {stage.remark}".rstrip())
        self.terminal.print()


def _parse_log_line(text: str) -> dict[str, str]:
    try:
        entry = json.loads(text)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _describe_duration(stage: Stage) -> str:
    seconds = stage.ended - stage.began
    if not seconds:
        return ""
    took = f"{seconds:6.2f} s" if seconds >= 0.1 else f"{seconds * 1000:5.1f} ms"
    if not stage.size:
        return f"{took:31}"
    fetched = f"{took}  {format_octets(stage.size):>8}"
    speed = (
        f"{stage.size / max(seconds, 1e-6) / 1e6:5.0f} MB/s"
        if stage.size >= MIN_TIMED_OCTETS
        else ""
    )
    return f"{fetched}  {speed:10}"


def format_octets(octets: int) -> str:
    """Write a size for people."""
    return f"{octets / 1e6:.1f} MB" if octets >= MIN_TIMED_OCTETS else f"{octets} B"
