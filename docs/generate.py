"""Write docs/reference: each page is made of the code's own tables.

Usage: generate.py [--check]      (--check: write nothing, name the pages that are not up to date)
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from pybootd import cli
from pybootd.config import reference as options
from pybootd.observe.diagnosis import reference as verdicts
from pybootd.status import reference as status

FOLDER = Path(__file__).parent / "reference"
HEAD = ".. made by docs/generate.py (make reference): change the code's table, not this page\n\n"


def title(text: str, underline: str = "=") -> str:
    """Return a heading."""
    return f"{text}\n{underline * len(text)}\n\n"


# commands


def list_entries(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a definition for each argument and option of a parser, but for --help."""
    for action in parser._actions:  # argparse has no public way to list them
        if "--help" in action.option_strings:
            continue
        value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
        if action.choices and not action.metavar:
            value = "{" + ",".join(map(str, action.choices)) + "}"
        names = [f"{name} {value}".strip() for name in action.option_strings] or [str(value)]
        yield ", ".join(f"``{name}``" for name in names)
        text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
        yield f"    {text}\n"


def find_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command: a module's, or that of ``command`` in its folder."""
    module = import_module(f"pybootd.commands.{name}")
    if hasattr(module, "__path__"):
        module = import_module(f"pybootd.commands.{name}.command")
    return module.parser()


def render_command(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    """Yield a section on one command: what it does, its options, what it ends with."""
    if name:
        yield title(f"pybootd {name}", "-")
    yield f"{parser.description}\n"
    yield from list_entries(parser)
    if parser.epilog and name:
        yield f"{parser.epilog}\n"


def render_commands() -> str:
    """Return the page on the command line: the daemon's options, then each command's."""
    lines = [title("Commands"), "::\n", "    pybootd [OPTION...]", "    pybootd COMMAND ...\n"]
    lines += render_command(cli._parser(), "")
    lines.append(
        "Exit status: 0 after a clean stop (SIGINT, SIGTERM), 1 for a configuration or start-up"
        " error,\ntold in one clear line, 2 for wrong usage.\n"
    )
    for name in cli.COMMANDS:
        lines += render_command(find_parser(name), name)
    return "\n".join(lines)


# the rest


def render_options() -> str:
    """Return the page on the configuration: a section for each of the file's."""
    intro = (
        "``pybootd.ini``, section by section. :doc:`../guides/configuration` tells how it is\n"
        "written, checked and read again; ``pybootd --sample`` prints all of it as a file.\n\n"
    )
    return title("Options") + intro + options.render_rst("-")


def render_verdicts() -> str:
    """Return the page on the verdicts: what each means, how sure it is, what to do."""
    intro = (
        "Why a boot stopped, as ``pybootd why``, the page and the JSON say it. The first rule\n"
        "that fits decides (:doc:`../internals/observing`).\n\n"
    )
    return title("Verdicts") + intro + verdicts.render_verdicts()


def render_api() -> str:
    """Return the page on the JSON API."""
    intro = (
        "The status address (127.0.0.1:8067 unless ``[status]`` says otherwise) answers these\n"
        "paths with JSON. Beyond the loopback a token must be shown, as ``?token=...`` or\n"
        "``Authorization: Bearer ...``. ``at`` and ``until`` are seconds since a boot began,\n"
        "other moments seconds since the epoch. New fields may come at any time.\n\n"
    )
    return title("JSON API") + intro + status.render_api()


def render_metrics() -> str:
    """Return the page on the metrics: name, type, labels, meaning."""
    intro = "``/metrics`` of the status address answers them, for Prometheus:\n\n"
    return title("Metrics") + intro + status.render_metrics()


PAGES: dict[str, Callable[[], str]] = {
    "options": render_options,
    "commands": render_commands,
    "verdicts": render_verdicts,
    "api": render_api,
    "metrics": render_metrics,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or name those that are not up to date."""
    stale = []
    for name, render in PAGES.items():
        page, text = FOLDER / f"{name}.rst", HEAD + render().rstrip() + "\n"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(page.name)
            if "--check" not in arguments:
                page.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/reference/{name}: {'not up to date' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
