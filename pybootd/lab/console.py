"""What a machine or a daemon says, read off the file that it writes to."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# cursor movements, colours and the like; and the controls but tab and the ends of lines
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;?=]*[ -/]*[@-~]|[()][0-9A-Za-z]|[@-Z\\-_=>])|[\x00-\x08\x0e-\x1f]"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a console, and when it was seen, in seconds since the power was switched on."""

    seconds: float
    text: str


class Console:
    """The lines that a program writes to a file, as a person would read them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = 0.0
        self.seen: list[str] = []
        self._offset = 0
        self._rest = ""
        self._waiting: deque[Line] = deque()

    def read_lines(self) -> Iterator[Line]:
        """Yield what came and wasn't yielded yet; an unfinished line waits, and so do empty ones.

        A caller that stops in the middle finds the rest at the next call.
        """
        self._read_file()
        while self._waiting:
            yield self._waiting.popleft()

    def _read_file(self) -> None:
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        self._offset += len(data)
        now = time.monotonic() - self.started
        *whole, self._rest = re.split(r"[\r\n]+", self._rest + data.decode("utf-8", "replace"))
        for raw in whole:
            if text := _ESCAPES.sub("", raw).rstrip():
                self.seen.append(text)
                self._waiting.append(Line(now, text))
