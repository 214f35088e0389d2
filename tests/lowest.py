"""Run the unit tests with the lowest versions of our dependencies that setup.py allows.

No later version is here by accident: what setup.py promises is tried. The folder
.venv-lowest holds them; it is made again when setup.py changes.
"""

import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".venv-lowest"
STAMP = PLACE / "constraints.txt"
_FLOOR = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)")


def floors() -> list[str]:
    """Return the lowest version of each package that pybootd needs to run, as pip writes it."""
    found = []
    for line in requires("pybootd") or ():
        requirement, _, marker = line.partition(";")
        floor = _FLOOR.fullmatch(requirement.replace(" ", ""))
        if floor and ("extra" not in marker or 'extra == "postgresql"' in marker):
            found.append(f"{floor[1]}=={floor[2]}")
    return sorted(found)


def make() -> Path:
    """Make the environment where it is missing or old; return its Python."""
    python = PLACE / "bin" / "python"
    text = "\n".join(floors()) + "\n"
    if not STAMP.exists() or STAMP.read_text() != text:
        subprocess.run([sys.executable, "-m", "venv", "--clear", PLACE], check=True)
        STAMP.with_name("new.txt").write_text(text)
        install = ("-m", "pip", "install", "-qq", "--disable-pip-version-check")
        constraints = ("-c", STAMP.with_name("new.txt"))
        subprocess.run([python, *install, *constraints, "-e", ".[test]"], cwd=ROOT, check=True)
        STAMP.with_name("new.txt").rename(STAMP)
    return python


if __name__ == "__main__":
    print(*floors(), sep="\n")
    command = [make(), "-m", "pytest", "-q", "-n", "2", "-m", "not net and not boot"]
    sys.exit(subprocess.run(command, cwd=ROOT).returncode)
