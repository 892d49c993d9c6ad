"""Pictures for the docs: `python -m tests.report.screenshots [DIR]` writes them (default `docs/images`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from playwright.sync_api import Browser

from tests.captures import CAPTURES, SAMPLES
from tests.report.browser import opened_browser
from tests.screen import on_a_terminal
from tests.transcript import run

_FAILED: Final = SAMPLES / "captures" / "fail-compat" / "serialized.elf"
_HEALTHY: Final = CAPTURES["luo-memfd serialized"].path


class _Window(NamedTuple):
    """How a report is looked at."""

    name: str
    image: Path
    width: int = 1200
    height: int = 1000
    media: Mapping[str, Any] = MappingProxyType({})


_WINDOWS: Final = (
    _Window("report-light", _FAILED),
    _Window("report-dark", _HEALTHY, media={"color_scheme": "dark"}),
    _Window("report-narrow", _FAILED, width=400),
    _Window("report-printed", _HEALTHY, width=800, height=1130, media={"media": "print"}),
)


def write_screenshots(browser: Browser, directory: Path) -> None:
    """Write all of them."""
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        for window in _WINDOWS:
            report = Path(scratch) / f"{window.name}.html"
            run("report", _named(window.image), "-o", report, "-q")
            _shoot(browser, report, window, directory)
        for columns in (80, 200):
            commands = (("map", _named(_HEALTHY), "-q"), ("check", _named(_FAILED), "-q"))
            shown = (
                f"$ khodump {' '.join(map(str, command))}\n{on_a_terminal(*command, columns=columns)}"
                for command in commands
            )
            text = "\n".join(shown)
            page = Path(scratch) / f"terminal-{columns}.html"
            page.write_text(_terminal(text, columns), encoding="utf-8")
            _shoot(browser, page, _Window(f"terminal-{columns}", page, columns * 8 + 32, 900), directory)


def _named(image: Path) -> Path:
    """As a person in the repository would name it."""
    return image.relative_to(SAMPLES.parent)


def _shoot(browser: Browser, page: Path, window: _Window, directory: Path) -> None:
    tab = browser.new_page(viewport={"width": window.width, "height": window.height})
    tab.emulate_media(**window.media)
    tab.goto(page.as_uri())
    tab.screenshot(path=directory / f"{window.name}.png")
    tab.close()


def _terminal(text: str, columns: int) -> str:
    """A window of so many columns, without colours."""
    style = f"margin:16px;width:{columns}ch;overflow:hidden;font:13px/1.35 'DejaVu Sans Mono',monospace"
    return f'<meta charset="utf-8"><body style="margin:0"><pre style="{style}">{escape(text)}</pre></body>'


if __name__ == "__main__":
    with opened_browser() as chromium:
        write_screenshots(chromium, Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
