"""Write the manual page pybootd(8) out of the README: its parts on the command line and the file.

Usage: man.py OUTPUT
"""

import re
import sys
from pathlib import Path

from docutils.core import publish_string

TOP = Path(__file__).parent.parent
HEAD = """=======
pybootd
=======

------------------------------------------------------------------------
boot machines over the network: BOOTP, DHCP, PXE, TFTP and HTTP
------------------------------------------------------------------------

:Manual section: 8
:Version: pybootd {version}

"""
TAIL = """
Files
=====

``/etc/pybootd.ini``
    the configuration; ``pybootd --sample`` prints one with every option

``/var/lib/pybootd/leases.db``
    the leases
"""
FIRST, LAST = "Command line", "Forwarding"  # sections of the README, the last left out
NARROW = 16  # a table's columns are no wider than that, in letters, but one of them


def source() -> str:
    """Return the page as reStructuredText."""
    readme = (TOP / "README.rst").read_text(encoding="utf-8")
    begin, end = (re.search(rf"^{name}\n=+$", readme, re.M).start() for name in (FIRST, LAST))
    init = (TOP / "pybootd" / "__init__.py").read_text(encoding="utf-8")
    version = re.search('^__version__ = "(.+)"', init, re.M)[1]
    text = readme[begin:end]
    for target in re.findall(r"`([^`<]+)`_", text):  # what is named stands elsewhere in the README
        if not re.search(rf"^(``)?{re.escape(target)}(``)?\n[-=]+$", text, re.M):
            text = text.replace(f"`{target}`_", f"{target} (README)")
    return HEAD.format(version=version) + text + TAIL


def widths(table: re.Match[str]) -> str:
    """Let the column with the longest text take the room that the others leave; else all are equal.

    tbl(1): ``w`` gives a column's width in n, ``x`` expands it.
    """
    cells = [
        re.sub(r"\\f[BIPR]|\\&", "", cell).replace(r"\-", "-")
        for cell in re.findall(r"T\{\n(.*?)\n?T\}", table[0], re.S)
    ]
    count = table[1].count("l")
    columns = [cells[number::count] for number in range(count)]
    words = [
        max(len(word) for cell in column for word in cell.split() or [""]) for column in columns
    ]
    texts = [max(map(len, column)) for column in columns]
    wide = texts.index(max(texts))
    room = [max(word, min(text, NARROW)) for word, text in zip(words, texts, strict=True)]
    layout = ["lx" if number == wide else f"lw({n}n)" for number, n in enumerate(room)]
    return table[0].replace(table[1], f"{'|'.join(layout)}.", 1)


def page() -> str:
    """Return the page for man(1)."""
    settings = {"report_level": 2, "halt_level": 2, "output_encoding": "unicode"}
    text = publish_string(source(), writer="manpage", settings_overrides=settings)
    text = re.sub(r"^\.TS\n[^\n]*\n(l[|l]+\.)\n.*?^\.TE", widths, text, flags=re.S | re.M)
    # a narrow column is no place for justified lines, and names are not to be cut
    return re.sub(r"^\.SH ", ".ad l\n.nr HY 0\n.SH ", text, count=1, flags=re.M)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
