"""A picture of physical memory in characters, for a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from textwrap import wrap
from typing import Final

import numpy as np
from rich.cells import cell_len, set_cell_size
from typer import style

from khodump.numbers import format_size
from khodump.output.text import printable
from khodump.picture.axis import Canvas
from khodump.picture.picture import Picture
from khodump.picture.pieces import Category, Lane
from khodump.picture.scene import told_size
from khodump.picture.view import By

#: Narrower than this a picture says nothing.
LEAST_WIDTH: Final = 40

_SIZE: Final = 10  # of a lane, right-aligned
_GAP: Final = 1
_ORDER_NAME: Final = 21
_ISLAND: Final = 14  # columns, for the label of its start
_PALETTE: Final = (
    "blue",
    "cyan",
    "yellow",
    "green",
    "bright_blue",
    "bright_cyan",
    "bright_yellow",
    "bright_green",
)
_COLORS: Final = {
    Category.IMAGE: "white",
    Category.MISSING: "bright_black",
    Category.SCRATCH: "yellow",
    Category.UNCLAIMED: "bright_black",
    Category.LOST: "red",
    Category.TRACKER: "magenta",
}


@dataclass(frozen=True)
class Charset:
    """What to draw with.

    Attributes:
        bars: nothing, then from some of a column's bytes to all.
        cut: a stretch that is left out.
        mark: where a label points to.
        ellipsis: what is left out of a name.
    """

    bars: str
    cut: str
    mark: str
    ellipsis: str


UNICODE: Final = Charset(" ▁▂▃▄▅▆▇█", "┊", "╵", "…")
ASCII: Final = Charset(" .:-=+*%#", "|", "'", "..")


def charset_of(encoding: str | None) -> Charset:
    """The best that a stream's encoding has."""
    try:
        f"{UNICODE.bars}{UNICODE.cut}{UNICODE.mark}{UNICODE.ellipsis}".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def canvas_of(width: int, by: By) -> Canvas:
    """The room for an axis in a picture that is `width` characters wide: owners take more of it than orders."""
    width = max(width, LEAST_WIDTH)
    names = width * 2 // 5 if by is By.OWNER else min(_ORDER_NAME, width // 3)
    columns = width - names - _SIZE - 2 * _GAP
    return Canvas(columns, gap=1, islands=max(columns // _ISLAND, 1))


def draw_blocks(
    picture: Picture, width: int, charset: Charset = UNICODE, *, color: bool = False
) -> Iterator[str]:
    """The lines of a picture that was painted for `canvas_of(width, ...)`.

    Args:
        picture: what to draw.
        width: characters a line.
        charset: what to draw with.
        color: give each lane a colour besides.
    """
    axis = picture.axis
    names = max(width, LEAST_WIDTH) - axis.columns - _SIZE - 2 * _GAP
    yield _fitted(f"{picture.title}", width, charset).rstrip()
    yield ""
    for row, (lane, hue) in enumerate(zip(picture.lanes, _hues(picture.lanes), strict=True)):
        head = (
            f"{_fitted(lane.name, names, charset)}{' ' * _GAP}{format_size(lane.size):>{_SIZE}}{' ' * _GAP}"
        )
        bar = "".join(_bar(picture, row, charset)).rstrip()
        yield (head + (style(bar, fg=hue) if color else bar)).rstrip()
    margin = " " * (names + _SIZE + 2 * _GAP)
    yield from (f"{margin}{line}".rstrip() for line in _ticks(picture, charset))
    yield ""
    yield from wrap(_key(picture, charset), max(width, LEAST_WIDTH), break_long_words=False)


def _hues(lanes: tuple[Lane, ...]) -> list[str]:
    preserved = cycle(_PALETTE)
    return [_COLORS.get(lane.category) or next(preserved) for lane in lanes]


def _fitted(text: str, width: int, charset: Charset) -> str:
    """A name in so many columns of a terminal, its middle left out where it is longer."""
    shown = printable(text).encode(errors="replace").decode()
    if charset is ASCII:
        shown = shown.encode("ascii", "backslashreplace").decode()
    if cell_len(shown) <= width:
        return set_cell_size(shown, width)
    room = width - len(charset.ellipsis)
    tail = ""
    for char in reversed(shown):
        if cell_len(char + tail) > room // 2:
            break
        tail = char + tail
    return set_cell_size(shown, room - cell_len(tail)) + charset.ellipsis + tail


def _bar(picture: Picture, row: int, charset: Charset) -> Iterator[str]:
    """A lane: for each column the share that is covered, and at least the least mark for any."""
    most = len(charset.bars) - 1
    cover = picture.cover[row]
    height = np.where(cover > 0, np.clip(np.rint(cover * most), 1, most), 0).astype(int)
    widths = np.diff(picture.axis.left)
    for level, cut, width in zip(height.tolist(), picture.axis.cut.tolist(), widths.tolist(), strict=True):
        yield (charset.cut if cut else charset.bars[level]) * width


def _ticks(picture: Picture, charset: Charset) -> list[str]:
    """Marks, addresses in hex, and in units."""
    lines = [" " * picture.axis.columns] * 3
    end = f"{picture.axis.end:#x}"
    ticks = picture.axis.ticks(max(_ISLAND, len(end) + 1))
    for tick in ticks:
        for number, text in enumerate((charset.mark, f"{tick.phys:#x}", told_size(tick))):
            lines[number] = lines[number][: tick.column] + text + lines[number][tick.column + len(text) :]
    if len(end) + 2 <= picture.axis.columns and lines[1][-len(end) - 2 :].isspace():
        lines[1] = lines[1][: -len(end)] + end
        size = told_size(picture.axis.end_tick(ticks))
        lines[2] = lines[2][: -len(size)] + size
    return lines


def _key(picture: Picture, charset: Charset) -> str:
    """What the marks mean."""
    bars = charset.bars
    said = f"{bars[1]} to {bars[-1]}: from some to all of a column's bytes."
    cuts = [format_size(high - low) for low, high in picture.axis.cuts]
    if cuts:
        said += f" {charset.cut} left out, with nothing of KHO's: {', '.join(cuts)}."
    return said
