"""What is said of an option and of a section, once, for all who need it.

Values and their defaults, ``--check``, the sample, the reference and the manual page come from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from pybootd.config.values import ValueParser

T = TypeVar("T")
_KEY = "option"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of one section.

    ``help`` is one or two sentences, in reStructuredText without roles. ``unit`` is that of a
    number. ``default_text`` says what holds where the option is left out, where ``default`` alone
    doesn't tell. ``restart``: a reload doesn't change it. ``also``: sections of which kinds may
    have it, too. ``example`` is a value; of a ``free`` option, whose ``name`` stands for names that
    the user makes up, lines. ``preset``: the value that the sample sets.
    """

    name: str
    parser: ValueParser[Any]
    help: str
    default: Any = None
    unit: str = ""
    default_text: str = ""
    example: str = ""
    preset: str = ""
    restart: bool = False
    also: tuple[str, ...] = ()
    free: bool = False
    section: str = ""

    @property
    def default_written(self) -> str:
        """Return the default as it would be written; "" where there is nothing to write."""
        return "" if self.default in (None, "", ()) else self.parser.form(self.default)


def option(
    parser: ValueParser[T],
    default: T,
    help: str,  # noqa: A002
    *,
    unit: str = "",
    default_text: str = "",
    example: str = "",
    preset: str = "",
    restart: bool = False,
    also: tuple[str, ...] = (),
) -> T:
    """Declare a field of a section's dataclass: its name is the option's."""
    made = Option("", parser, help, default, unit, default_text, example, preset, restart, also)
    return field(default=default, metadata={_KEY: made})


@dataclass(frozen=True)
class SectionDeclaration:
    """One section, or one kind of section.

    ``config`` is the dataclass whose fields are its options, ``extra`` are options that no field
    holds. ``label`` is what stands behind the name of a kind: ``[subnet NET/LEN]``;
    ``sample_label`` and ``sample_lines`` are an
    example of one. ``aliases`` are other names of the section.
    """

    name: str
    help: str
    config: type[Any] | None = None
    extra: tuple[Option, ...] = ()
    label: str = ""
    sample_label: str = ""
    sample_lines: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return the section's header, as the reference shows it."""
        return f"[{self.name} {self.label}]" if self.label else f"[{self.name}]"

    @cached_property
    def options(self) -> Mapping[str, Option]:
        """Every option by its name, in the order of the declaration."""
        held = fields(self.config) if self.config is not None else ()
        declared = [
            replace(one.metadata[_KEY], name=one.name) for one in held if _KEY in one.metadata
        ]
        return MappingProxyType(
            {one.name: replace(one, section=self.name) for one in (*declared, *self.extra)}
        )
