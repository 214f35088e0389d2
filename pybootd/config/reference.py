"""The reference of every option, and the sample configuration, out of the declarations."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pybootd.config.options import table
from pybootd.config.options.declaration import Option, SectionDeclaration
from pybootd.config.values import BOOLEAN

_SAMPLE_HEAD = """\
; pybootd.ini: every option, commented out with its default, or with an example where it has none.
; Check it with: pybootd --check -c FILE
;
; A key is separated from its value by "=" alone. ";" and "#" start a comment line.
; A boolean is on, true, enable, enabled, yes, high, ok, 1
; or off, false, disable, disabled, no, low, ko, 0.
; A MAC is AA-BB-CC-DD-EE-FF or aa:bb:cc:dd:ee:ff; AA-BB-CC/24 is every MAC that begins so.
"""
_WIDTH = 98


def render_rst(underline: str = "-") -> str:
    """Return the reference as reStructuredText: a section for each of the file's, in its order.

    It needs no role or directive of Sphinx; ``underline`` is the character below the headings.
    Each section is a target, ``section-tftp``.
    """
    return "\n".join(_section(one, underline) for one in table.SECTIONS.values())


def render_sample() -> str:
    """Return the commented sample configuration, which holds every option."""
    return _SAMPLE_HEAD + "".join(_sample_section(one) for one in table.SECTIONS.values())


def _section(section: SectionDeclaration, underline: str) -> str:
    title = f"``{section.title}``"
    lines = [f".. _section-{section.name}:", "", title, underline * len(title), "", section.help]
    for alias in section.aliases:
        lines += ["", f"``[{alias}]`` is another name of this section."]
    if lent := _lent(section):
        lines += ["", f"{lent}."]
    for option in section.options.values():
        lines += ["", f"``{option.name}``"]
        lines += [f"    {line}" if line else "" for line in _entry(option)]
    return "\n".join(lines) + "\n"


def _lent(section: SectionDeclaration) -> str:
    """Name the options of other sections that this one may have; "" when there are none."""
    by_home: dict[str, list[str]] = {}
    for option in table.options_of(section.name).values():
        if option.section != section.name:
            by_home.setdefault(option.section, []).append(f"``{option.name}``")
    return ". ".join(f"As in ``[{home}]``: {', '.join(names)}" for home, names in by_home.items())


def _entry(option: Option) -> Iterator[str]:
    """Yield the lines of an option's entry: what it does, and in a paragraph what it takes."""
    yield option.help
    yield ""
    facts = [f"Value: {_accepted(option)}"]
    if not option.free:
        facts.append(f"Default: {_default(option)}")
    if option.also:
        titles = (f"``{table.SECTIONS[kind].title}``" for kind in option.also)
        facts.append(f"Also in {', '.join(titles)}")
    if option.restart:
        facts.append("A change requires a restart")
    if option.free:
        shown = (option.preset or option.example).split("\n")
        facts.append(f"Example: {', '.join(f'``{line}``' for line in shown)}")
    elif option.example:
        facts.append(f"Example: ``{option.name} = {option.example}``")
    yield ". ".join(facts) + "."


def _accepted(option: Option) -> str:
    return f"{option.parser.accepts} {option.unit}".rstrip()


def _default(option: Option) -> str:
    if option.default_text:
        return option.default_text
    return f"``{option.default_written}``" if option.default_written else "none"


def _sample_section(section: SectionDeclaration) -> str:
    label = f" {section.sample_label}" if section.label else ""
    hidden = ";" if section.label else ""
    lines = ["", *_comment(section.help), f"{hidden}[{section.name}{label}]"]
    if lent := _lent(section):
        lines += _comment(f"{lent}.")
        lines += [f";{line}" for line in section.sample_lines]
    for option in section.options.values():
        lines += _comment(_sample_help(option))
        if option.free:
            lines += [line for line in option.preset.split("\n") if line]
            lines += [f";{line}" for line in option.example.split("\n") if line]
        elif option.preset:
            lines.append(f"{option.name} = {option.preset}")
        else:
            shown = option.example if option.default_text else ""
            value = shown or option.default_written or option.example
            lines.append(f";{option.name} = {value}".rstrip())
    return "\n".join(lines) + "\n"


def _sample_help(option: Option) -> str:
    notes = []
    if not option.parser.free and option.parser is not BOOLEAN:
        notes.append(_accepted(option))
    if option.default_text not in ("", "none"):
        notes.append(f"default: {option.default_text}")
    return f"{option.help} [{'; '.join(notes)}]" if notes else option.help


def _comment(text: str) -> list[str]:
    """Return text as comment lines, without the marks of reStructuredText."""
    plain = text.replace("``", "")
    return [f"; {line}" for line in textwrap.wrap(plain, _WIDTH, break_on_hyphens=False)]
