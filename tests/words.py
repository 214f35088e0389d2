"""Look for words that are not written here: tests/words.txt lists them with what to write instead.

Usage: words.py [FILE...]      (without a file: all that people read, from code to documents)
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".txt")
OWN = (LIST, TOP / "tests/docs/test_words.py")  # they hold the words to say what they are
FOLDERS = (".ci", "bench", "docs", "etc", "packaging", "pybootd", "tests")
SUFFIXES = (".bash", ".c", ".css", ".html", ".ini", ".js", ".py", ".rst", ".service", ".sh",
            ".socket", ".toml", ".txt")  # fmt: skip
NAMES = ("Containerfile", "Makefile", "MANIFEST.in", "copyright", "postinst", "postrm", "prerm",
         "pybootd", "run")  # fmt: skip
HISTORY = re.compile(r"^\d+\.\d+[^\n]*\n-+\n", re.M)  # CHANGES.rst: a heading for each version
BETWEEN = r"[\s#;*_|]+"  # a phrase may go on in the next line of a comment, or in a test's name


def read_list(text: str) -> list[tuple[re.Pattern[str], str, str]]:
    """Return (pattern, word, what to write instead) for each line of the list."""
    found = []
    for line in text.splitlines():
        word, equals, instead = line.partition("=")
        if line.startswith("#") or not equals:
            continue
        word = word.strip()
        phrase = BETWEEN.join(map(re.escape, word.split()))
        flags = 0 if word != word.lower() else re.IGNORECASE
        found.append(
            (re.compile(rf"(?<![A-Za-z]){phrase}(?![A-Za-z])", flags), word, instead.strip())
        )
    return found


def find_files() -> Iterator[Path]:
    """Yield every file that people read, but the list itself."""
    inside = [path for folder in FOLDERS for path in (TOP / folder).rglob("*")]
    for path in sorted([*TOP.iterdir(), *inside]):
        wanted = path.suffix in SUFFIXES or path.name in NAMES
        if wanted and path.is_file() and path not in OWN:
            yield path


def read_text(path: Path) -> str:
    """Return what is checked of a file: of CHANGES.rst the newest version alone."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.name == "CHANGES.rst":
        versions = [match.start() for match in HISTORY.finditer(text)]
        text = text[: versions[1]] if len(versions) > 1 else text
    return text


def find_words(text: str, words: list[tuple[re.Pattern[str], str, str]]) -> Iterator[str]:
    """Yield ``LINE: word: what to write`` for each word of the list that the text holds."""
    for pattern, word, instead in words:
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{line}: {word}: write {instead}"


def main(names: list[str]) -> int:
    """Print each word that was found with its place; 1 when there is one."""
    words, count = read_list(LIST.read_text(encoding="utf-8")), 0
    for path in map(Path, names) if names else find_files():
        shown = path.relative_to(TOP) if path.is_relative_to(TOP) else path
        for found in find_words(read_text(path), words):
            print(f"{shown}:{found}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
