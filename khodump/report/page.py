"""A report as one HTML file that needs nothing else: styles, script and data are in it, and a policy forbids the rest.

What comes out of an image is escaped by the template engine, and in the data by JSON without `<`; nothing of it is
ever markup, an address to go to, or code.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from khodump.output.text import printable
from khodump.rows import Cell, Kind

#: Kinds that are texts, not numbers.
WORDS: Final = (Kind.TEXT, Kind.LINES, Kind.COMMAND, Kind.CHANGE)

_ASSETS: Final = "assets"
_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A small table: headings, whether a column is of numbers, and texts."""

    title: str
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Grid:
    """A table of many rows that the reader pages, sorts and searches.

    Attributes:
        name: unique in the page.
        title: above it.
        columns: name and kind of each.
        values: the columns, all of one length.
        note: what was left out or put together, if anything.
    """

    name: str
    title: str
    columns: tuple[tuple[str, Kind], ...]
    values: tuple[tuple[Cell, ...], ...]
    note: str | None = None

    def __len__(self) -> int:
        return len(self.values[0]) if self.values else 0

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {
            "columns": [[name, kind.value] for name, kind in self.columns],
            "values": [
                _column(values, kind) for values, (_, kind) in zip(self.values, self.columns, strict=True)
            ],
        }


@dataclass(frozen=True)
class Card:
    """A finding, told at length: its severity, heading, and (name, lines, is code) of what is known."""

    severity: str
    rule: str
    heading: str
    details: tuple[tuple[str, tuple[str, ...], bool], ...]


@dataclass(frozen=True)
class Drawing:
    """A picture: a caption, and an SVG of our own making, whose texts are escaped."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    """A part of the page: an anchor, a title, and any of what can stand in one."""

    anchor: str
    title: str
    intro: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    cards: tuple[Card, ...] = ()
    pictures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    grids: tuple[Grid, ...] = ()
    text: str | None = None


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: of the document.
        verdict: one sentence.
        tone: `good`, `bad` or `unsure`, which decides its colour.
        facts: what stands beside the verdict.
        sections: the rest.
    """

    title: str
    verdict: str
    tone: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def render(page: Page) -> str:
    """The page as HTML."""
    style, script = _asset("report.css"), _asset("report.js")
    drawings = (drawing for section in page.sections for drawing in section.pictures)
    styles = [style, *(found for drawing in drawings for found in _STYLE.findall(drawing.svg))]
    policy = (
        "default-src 'none'; "
        f"style-src {' '.join(_hash(text) for text in styles)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    data = {grid.name: grid.data for section in page.sections for grid in section.grids}
    text: str = _template().render(
        page=page, policy=policy, style=Markup(style), script=Markup(script), data=Markup(_json(data)),  # noqa: S704 - our own files, and JSON without markup
        markup=Markup,
    )  # fmt: skip
    return text


@cache
def _template() -> Any:  # noqa: ANN401 - jinja2's own
    environment = Environment(
        loader=PackageLoader("khodump.report", _ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    return environment.get_template("report.html")


def _asset(name: str) -> str:
    return resources.files("khodump.report").joinpath(_ASSETS, name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: object) -> str:
    """JSON that can stand in a script element: nothing in it can end that, or begin a comment."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _column(values: tuple[Cell, ...], kind: Kind) -> dict[str, Any]:
    """A column; texts that repeat are written once, and numbers too wide for a script as texts."""
    if kind in WORDS:
        texts = [None if value is None else printable(str(value)) for value in values]
        words = list(dict.fromkeys(texts))
        index = {word: at for at, word in enumerate(words)}
        return {"words": words, "index": [index[text] for text in texts]}
    if kind is Kind.ADDRESS:
        return {"values": [None if value is None else f"{value:#x}" for value in values]}
    return {"values": list(values)}
