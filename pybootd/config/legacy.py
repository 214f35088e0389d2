"""What configuration files of pybootd 1 say, in today's words.

They start and mean what they meant; each old word is a warning that says what to write now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from pybootd.config.ini import Section
from pybootd.core.finding import Finding
from pybootd.core.text import parse_flag

Sections = dict[str, Section]
Change = Callable[[Sections, str], Iterator[Finding]]


def modernize(sections: Mapping[str, Section]) -> tuple[Sections, list[Finding]]:
    """Put today's options in the place of old ones; sections go by their names of today.

    A section or an option that is no old one stays as it is. Returns the warnings, too.
    """
    changed = dict(sections)
    warnings: list[Finding] = []
    for (section, old), change in _CHANGES.items():
        for option in sections[section].options if section in sections else ():
            if option.lower() == old:
                warnings += change(changed, option)
    return changed, warnings


def _servername(sections: Sections, option: str) -> Iterator[Finding]:
    section = sections["bootp"]
    name = section.options[option]
    yield section.warning(option, f"is called servername: write servername = {name}")
    sections["bootp"] = _put(section, option, "servername", name)


def _set_gateway(sections: Sections, option: str) -> Iterator[Finding]:
    section = sections["bootp"]
    given = _get(section, "gateway")
    try:
        wanted = parse_flag(section.options[option])
    except ValueError as error:
        yield section.fault(option, str(error))
        sections["bootp"] = _put(section, option)
        return
    advice = f"write gateway = {'self' if wanted else 'none'}"
    if given:
        advice = f"gateway = {given} is enough" if wanted else f"{advice} instead of {given}"
    yield section.warning(option, f"is no option any more: {advice}")
    if wanted and given:
        sections["bootp"] = _put(section, option)
    else:
        sections["bootp"] = _put(section, option, "gateway", "self" if wanted else "none")


def _http_timeout(sections: Sections, option: str) -> Iterator[Finding]:
    section = sections["http"]
    timeout = section.options[option]
    yield section.warning(option, f"belongs to [bootp]: write timeout = {timeout} there")
    sections["http"] = _put(section, option)
    bootp = sections.get("bootp", Section("bootp", section.path))
    if not _get(bootp, "timeout"):
        lines = {**bootp.lines, "timeout": section.lines.get(option, 0)}
        options = {**bootp.options, "timeout": timeout}
        sections["bootp"] = replace(bootp, options=options, lines=lines)


# (section, option of pybootd 1) -> what becomes of it
_CHANGES: Mapping[tuple[str, str], Change] = {
    ("bootp", "server_name"): _servername,
    ("bootp", "set_gateway"): _set_gateway,
    ("http", "timeout"): _http_timeout,
}


def _get(section: Section, wanted: str) -> str:
    found = (text for option, text in section.options.items() if option.lower() == wanted)
    return next(found, "")


def _put(section: Section, old: str, new: str = "", text: str = "") -> Section:
    """Take an option out, and set another one in its line."""
    options = {name: value for name, value in section.options.items() if name != old}
    lines = {name: line for name, line in section.lines.items() if name != old}
    if new:
        options = {name: value for name, value in options.items() if name.lower() != new}
        options[new], lines[new] = text, section.lines.get(old, 0)
    return replace(section, options=options, lines=lines)
