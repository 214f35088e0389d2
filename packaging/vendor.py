"""Copy what pybootd needs of other packages, as it is installed here, into a folder.

Usage: vendor.py FOLDER
"""

import shutil
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def needed(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """Collect the distributions that one needs, those that they need, and so on."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in found:
            found[requirement.name] = distribution(requirement.name)
            needed(requirement.name, found)
    return found


def main(folder: Path) -> None:
    """Copy every file but programs and what was compiled."""
    for found in needed("pybootd", {}).values():
        for file in found.files or ():
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), folder / file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
