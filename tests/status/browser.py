"""Debian's Chromium, driven by Playwright; pages are looked at, and kept as pictures."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


@contextmanager
def browser(executable: str = "") -> Iterator[Any]:
    """Start Chromium, or ``executable`` in its stead; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="not installed: playwright")
    program = executable or shutil.which("chromium")
    if program is None or shutil.which("chromium") is None:
        pytest.skip("not installed: chromium")
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            yield made
        finally:
            made.close()


@contextmanager
def page(made: Any, url: str, **more: Any) -> Iterator[Any]:
    """Open a page; fails if it logs an error, or asks for anything of another host."""
    complaints: list[str] = []
    context = made.new_context(**{"viewport": {"width": 1280, "height": 800}, **more})
    opened = context.new_page()
    opened.on("console", lambda told: complaints.append(told.text) if told.type == "error" else 0)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
    here = url.split("/")[2]
    opened.on(
        "request",
        lambda asked: (
            complaints.append(asked.url)
            if asked.url.split("/")[2:3] != [here] and not asked.url.startswith("data:")
            else 0
        ),
    )
    opened.goto(url)
    try:
        yield opened
    finally:
        context.close()
    assert complaints == []


def keep(opened: Any, name: str) -> None:
    """Keep a picture of the page for people."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=PICTURES / f"{name}.png", full_page=True)
