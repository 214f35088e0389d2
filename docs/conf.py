"""Sphinx: `make docs`. The pages of docs/reference are made by docs/generate.py."""

import re
from pathlib import Path

project = "pybootd"
copyright = "the pybootd developers"  # noqa: A001
release = re.search(
    r'"(.+)"', (Path(__file__).parents[1] / "pybootd" / "__init__.py").read_text(encoding="utf-8")
)[1]
root_doc = "index"
html_theme = "alabaster"
html_theme_options = {"description": "boots machines over the network", "page_width": "1100px"}
html_show_sourcelink = False
exclude_patterns = ["_build"]
