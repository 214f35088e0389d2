"""Templates: text rendered with what is known of the client that asks for it.

Everything here blocks, and jinja2 takes its time to load: it is for workers, where there is a
template at all.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache

import jinja2

from pybootd.core.events import FileProblem
from pybootd.core.workers import Later
from pybootd.files import paths
from pybootd.files.checksums import Pins
from pybootd.files.filters import VARIABLES
from pybootd.files.sandbox import (
    MAX_TEXT,
    CheckedEnvironment,
    RenderBudget,
    TooMuchError,
    set_budget,
)
from pybootd.files.source import (
    Altered,
    Body,
    FileError,
    FileRequest,
    Missing,
    Source,
    StaticBody,
    TextBody,
    Unavailable,
    read_head,
)

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HOSTNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TAG = re.compile(r"\{%.*?%\}|\{#.*?#\}")
_RAW = re.compile(r"\{%[-+]?\s*raw\b")


class _Loader(jinja2.BaseLoader):
    """Reads templates through a source, which keeps them below its root."""

    def __init__(self, source: Source, pins: Pins) -> None:
        self._source = source
        self._pins = pins

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """Return the text, its name for reports, and what tells whether it is still the same."""
        with contextlib.closing(self._open_template(template)) as body:
            data = read_head(body, MAX_TEXT + 1)
            key = body.key if isinstance(body, StaticBody) else None
        if len(data) > MAX_TEXT:
            raise TooMuchError(f"{template} is longer than {MAX_TEXT} octets")
        self._pins.check_octets(template, data)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            text = f"{template} is no UTF-8 text: octet {error.start}"
            raise Unavailable(text, FileProblem.TEMPLATE) from None
        return _keep_line_ends(text), template, lambda: self._is_unchanged(template, key)

    def _open_template(self, template: str) -> Body:
        try:
            body = self._source.open(paths.clean_name(template), FileRequest(template, "", ""))
            return body.call() if isinstance(body, Later) else body
        except Missing:
            raise jinja2.TemplateNotFound(template, f"{template}: no such template") from None

    def _is_unchanged(self, template: str, key: object) -> bool:
        if key is None:
            return False
        try:
            with contextlib.closing(self._open_template(template)) as body:
                return isinstance(body, StaticBody) and body.key == key
        except (jinja2.TemplateNotFound, FileError):
            return False


def _keep_line_ends(text: str) -> str:
    """Have lines of blocks alone vanish, and keep the end of those where a block stands last.

    jinja2's ``trim_blocks`` would join the latter with the next line: a kernel's options, say.
    """
    if _RAW.search(text):
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.endswith(("%}", "#}")) and line[-3:-2] not in "+-" and _TAG.sub("", line).strip():
            lines[number] = f"{line[:-2]}+{line[-2:]}"
    return "\n".join(lines)


@lru_cache(16)
def _environment_of(source: Source, pins: Pins) -> CheckedEnvironment:
    """Make what renders a source's templates; it keeps those that it has read."""
    made = CheckedEnvironment(_Loader(source, pins))
    made.filters["quote"] = shlex.quote
    return made


def render_template(source: Source, name: str, request: FileRequest, pins: Pins) -> TextBody:
    """Render the template ``name`` of the source for the client that asks.

    Other templates that it includes are those of ``source.find_template``. Raises Unavailable,
    which says file and line, and Altered where one of them isn't what it is pinned to.
    """
    source, name = source.find_template(name)
    environment = _environment_of(source, pins)
    before, budget = sys.gettrace(), RenderBudget()
    set_budget(budget)
    try:
        template, values = environment.get_template(name), _values_for(environment, request)
        pieces, length = [], 0
        sys.settrace(budget.count_call)  # this thread's alone
        for piece in template.generate(values):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_TEXT:
                raise TooMuchError(f"makes more than {MAX_TEXT} characters")
    except Altered:
        raise
    except Exception as error:  # whatever a template can do wrong
        raise Unavailable(_explain_error(error, name), FileProblem.TEMPLATE) from error
    finally:
        sys.settrace(before)
        set_budget(None)
    return TextBody("".join(pieces).encode("utf-8", "surrogateescape"))


def _values_for(environment: jinja2.Environment, request: FileRequest) -> dict[str, object]:
    """Return what is known of the client; what isn't is an error where it is used."""
    own = request.known.variables if request.known else {}
    values: dict[str, object] = dict(own)
    for name, of in VARIABLES.items():
        text = _CONTROL.sub("", of(request))
        if not text:
            hint = f"{name} of this client is not known"
            values[name] = environment.undefined(hint, name=name)
        elif name == "hostname" and not _HOSTNAME.fullmatch(text):
            # it comes from the network, and may be meant to end a string or begin a command
            hint = f"hostname of this client is no host name: {text!r}"
            values[name] = environment.undefined(hint, name=name)
        else:
            values[name] = text
    return values


def _explain_error(error: Exception, name: str) -> str:
    """Say in one line what went wrong, in which file and line, the template's name first."""
    asked, line = name, 0
    if isinstance(error, jinja2.TemplateSyntaxError):
        name, line = error.name or name, error.lineno
    else:
        for frame, number in traceback.walk_tb(error.__traceback__):
            # jinja2 puts frames into the traceback that have the template's own name and lines
            if "__jinja_exception__" in frame.f_globals:
                name, line = frame.f_code.co_filename, number
    text = str(error) or type(error).__name__
    if not isinstance(error, (jinja2.TemplateError, FileError, TooMuchError)):
        text = f"{type(error).__name__}: {error}"
    where = f"{name} line {line}" if line else name
    if name != asked:
        where = f"{asked}: {where}"
    return " ".join(f"{where}: {text}".split())[:300]
