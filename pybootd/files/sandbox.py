"""What a template may use: no attribute that leads out of it, and a share of time and memory.

Everything that can make much of little (products, sums, filters, methods, what macros put
together) is counted before it is made, and a rendering pauses often, so that the loop goes on.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import wraps
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.sandbox import SandboxedEnvironment

MAX_TEXT = 1 << 20
"""Characters that a template may make, and octets that it may have."""
MAX_STEPS = 1_000_000
"""Lines and calls that one rendering may go through."""
MAX_CPU_S = 3.0
"""Seconds of the processor that one rendering may take."""
MAX_OCTETS = 64 << 20
"""Octets, about, of all values that one rendering makes on its way."""

_MAX_BITS = 4096  # of the largest number that a product or a power may make
_MAX_VALUES = 100_000  # that are looked at to tell a value's size
_ITEM = 8  # octets of a list's item
_STEPS_BETWEEN = 200
_OWN = ("jinja2.", __name__)  # modules whose functions a template calls
_RUN_S, _PAUSE_S = 0.002, 0.002
_NUMBER = re.compile(r"\d+")
_UNUSED = ("lipsum",)  # globals of jinja2 that no boot configuration needs


class TooMuchError(Exception):
    """A template would take too long or too much memory; the text says what of."""


class RenderBudget:
    """What one rendering may still take; its steps are counted by ``sys.settrace``."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._look_at = MAX_STEPS  # steps left at which it is looked whether a pause is due
        self._octets = MAX_OCTETS
        self._until = time.thread_time() + MAX_CPU_S
        self._pause_at = time.thread_time() + _RUN_S

    def count_call(self, frame: FrameType, event: str, argument: object) -> Any:
        """Count a call, and follow it line by line if it is a template's own.

        What the garbage collector calls meanwhile is no place for an error: it would be lost, and
        with it the tracing.
        """
        self._steps -= 1
        template = "__jinja_template__" in frame.f_globals
        if template or str(frame.f_globals.get("__name__", "")).startswith(_OWN):
            self._check_steps()
        return self.count_line if template else None

    def count_line(self, frame: FrameType, event: str, argument: object) -> Any:
        """Count a line; ends a rendering that goes on for ever."""
        self._steps -= 1
        self._check_steps()
        return self.count_line

    def _check_steps(self) -> None:
        if self._steps < 0:
            raise TooMuchError("stopped: it seems to go on for ever")
        if self._steps < self._look_at:
            self._look_at = self._steps - _STEPS_BETWEEN
            self._pause()

    def count_octets(self, octets: int) -> None:
        """Count octets that are made."""
        self._octets -= octets
        if self._octets < 0:
            raise TooMuchError(f"makes values of more than {MAX_OCTETS} octets on its way")

    def _pause(self) -> None:
        """Leave the processor to the loop for a while, if this has had its share."""
        now = time.thread_time()
        if now > self._until:
            raise TooMuchError(f"stopped: it takes more than {MAX_CPU_S:g} s")
        if now > self._pause_at:
            time.sleep(_PAUSE_S)
            self._pause_at = now + _RUN_S


class _Current(threading.local):
    budget: RenderBudget | None = None


_current = _Current()


def set_budget(budget: RenderBudget | None) -> None:
    """Count what this thread renders from now on; None: nothing is."""
    _current.budget = budget


def _count_octets(octets: int) -> None:
    if octets > MAX_OCTETS:
        raise TooMuchError(f"makes values of more than {MAX_OCTETS} octets on its way")
    if _current.budget is not None:
        _current.budget.count_octets(octets)


def size_of(value: object) -> int:
    """Return about how many octets it takes to write a value as text; raises TooMuchError."""
    octets = seen = 0
    waiting = [value]
    while waiting:
        value = waiting.pop()
        seen += 1
        if isinstance(value, str | bytes):
            octets += len(value)
        elif isinstance(value, list | tuple | set | frozenset):
            octets += _ITEM * len(value)
            waiting += value
        elif isinstance(value, Mapping):
            octets += _ITEM * len(value)
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, range):
            octets += _ITEM * len(value)
        if seen + len(waiting) > _MAX_VALUES or octets > MAX_OCTETS:
            raise TooMuchError(f"makes values of more than {MAX_OCTETS} octets on its way")
    return octets


def _estimate(name: str, value: object, given: Iterable[object]) -> int:
    """Estimate how large the result of a filter or method may be, from what it is given."""
    arguments = list(given)
    numbers = sum(max(0, one) for one in arguments if isinstance(one, int))
    texts = sum(map(size_of, arguments))
    size = size_of(value)
    if name == "replace" and len(arguments) >= 2 and isinstance(value, str):
        old, new = str(arguments[0]), str(arguments[1])
        return size + (value.count(old) if old else size + 1) * len(new)
    if name == "join" and isinstance(value, Sized):
        return size + len(value) * texts
    if name == "format" and isinstance(value, str):
        return size + texts + numbers + sum(map(int, _NUMBER.findall(value)))
    return (1 + numbers + texts) * (1 + size)


def _checked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that what it makes is counted before it is made."""
    # the first argument of some is jinja2's own
    first = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        value = arguments[first] if len(arguments) > first else ""
        if name == "join" and not isinstance(value, Sized):  # it can't be told how much there is
            value = list(value)
            arguments = (*arguments[:first], value, *arguments[first + 1 :])
        _count_octets(_estimate(name, value, [*arguments[first + 1 :], *named.values()]))
        return function(*arguments, **named)

    return call


def join_pieces(pieces: Iterable[object]) -> str:
    """Put together what ``~`` joins, or a macro or a block has made."""
    texts = [one if isinstance(one, str) else str(_check_output(one)) for one in pieces]
    _count_octets(sum(map(len, texts)))
    return "".join(texts)


def _check_output(value: object) -> object:
    """Look at a value before it is written as text."""
    if not isinstance(value, str):
        _count_octets(size_of(value))
    return value


class _CheckedCode(CodeGenerator):
    """Makes the code of templates, with a ``~`` that is counted."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        """Write the call that joins."""
        self.write("environment.join_pieces((")
        for argument in node.nodes:
            self.visit(argument, frame)
            self.write(", ")
        self.write("))")


class CheckedEnvironment(SandboxedEnvironment):
    """Sandboxed, and without anything that only holds up the processor or fills the memory."""

    intercepted_binops = frozenset(("*", "**", "+", "%"))
    code_generator_class = _CheckedCode
    join_pieces = staticmethod(join_pieces)
    concat = staticmethod(join_pieces)

    def __init__(self, loader: jinja2.BaseLoader) -> None:
        super().__init__(
            loader=loader,
            undefined=jinja2.StrictUndefined,
            finalize=_check_output,
            autoescape=False,  # kernel command lines and shell scripts are no HTML
            keep_trailing_newline=True,
            # a line that holds a block alone leaves nothing behind
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for name in _UNUSED:
            self.globals.pop(name, None)
        self.filters = {name: _checked(name, one) for name, one in self.filters.items()}

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        """Calculate, unless the result would be huge."""
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length()
            if bits + right.bit_length() > _MAX_BITS:
                raise TooMuchError("a number is too large")
        elif operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, int) and hasattr(other, "__len__"):
                    if len(other) * one > MAX_TEXT:
                        raise TooMuchError(f"a product is longer than {MAX_TEXT}")
                    _count_octets(max(0, one) * size_of(other))
        elif operator == "+" and hasattr(left, "__len__"):
            _count_octets(size_of(left) + size_of(right))
        elif operator == "%" and isinstance(left, str):
            given = right if isinstance(right, tuple) else (right,)
            _count_octets(_estimate("format", left, given))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
        """Call a function or method, unless what it makes would be huge."""
        # that of ``format`` is jinja2's own
        method = getattr(function, "__wrapped__", function)
        value = getattr(method, "__self__", None)
        if isinstance(value, str | list | tuple | dict | set):
            given = [*arguments, *named.values()]
            _count_octets(_estimate(method.__name__, value, given))
        return super().call(context, function, *arguments, **named)
