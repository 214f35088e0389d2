"""The house stays as it is drawn: few things at the top, small rooms, files that fit a head."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "pybootd"
MAX_TOP_MODULES, MAX_TOP_FOLDERS = 4, 17
LATER = {"dhcp6", "images", "machines"}  # folders that later work adds: their places are kept
MAX_MODULES, MAX_LINES = 12, 420


def test_the_top_of_the_package() -> None:
    modules = {path.name for path in PACKAGE.glob("*.py")}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert len(modules) <= MAX_TOP_MODULES
    assert len(folders | LATER) <= MAX_TOP_FOLDERS


def test_no_folder_and_no_file_is_too_large() -> None:
    found = []
    for folder in (PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())):
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        if len(modules) > MAX_MODULES:
            found.append(f"{folder.relative_to(PACKAGE)}: {len(modules)} modules")
        for path in folder.glob("*.py"):
            lines = path.read_text().count("\n")
            if lines > MAX_LINES:
                found.append(f"{path.relative_to(PACKAGE)}: {lines} lines")
    assert found == []


def test_a_class_name_means_one_thing() -> None:
    found: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: where for name, where in found.items() if len(where) > 1} == {}
