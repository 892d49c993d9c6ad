"""A picture of physical memory laid out as a few kinds of shapes, for whatever draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from khodump.columns.extents import NO_ORDER
from khodump.numbers import format_size
from khodump.output.text import printable
from khodump.picture.axis import Canvas, Tick
from khodump.picture.picture import Picture
from khodump.picture.pieces import Category, Lane

#: Units a column, and the room that the plot of a scene has.
COLUMN: Final = 2
CANVAS: Final = Canvas(columns=400, gap=12, islands=12)

_GLYPH: Final = 7.3  # at most, of the text: a character's width
_NAMES: Final = 32
_RIGHT: Final = 90
_TOP: Final = 84
_LANE: Final = 28
_BAR: Final = 22
_LEAST: Final = 4  # of a bar, so that a page in a terabyte is seen
_TICK_COLUMNS: Final = 48
_NAME: Final = 48
_TIP_NAME: Final = 44
_PALETTE: Final = 13


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; `tip` is said of it when it is pointed at, and `range` is the memory that it stands for."""

    x: int
    y: int
    width: int
    height: int
    paint: str
    tip: str | None = None
    range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Skyline:
    """Bars side by side on one base: (left, right, height) each."""

    base: int
    bars: tuple[tuple[int, int, int], ...]
    paint: str


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text; `x` is where its anchor is: its start, middle or end."""

    x: int
    y: int
    text: str
    paint: str
    anchor: str = "start"
    tip: str | None = None


Shape: TypeAlias = Box | Skyline | Label


@dataclass(frozen=True)
class Scene:
    """What is to be drawn, back to front.

    Attributes:
        width, height: units.
        title, description: of the whole.
        shapes: painted with names that each drawing gives colours.
    """

    width: int
    height: int
    title: str
    description: str
    shapes: tuple[Shape, ...]


def lay_out(picture: Picture) -> Scene:
    """Place a picture that was painted for `CANVAS`."""
    return _Layout(picture).scene()


def clipped(text: str, length: int) -> str:
    """`text` with what does not print escaped, and its middle left out if it is longer than `length`."""
    shown = printable(text)
    if len(shown) <= length:
        return shown
    return f"{shown[: length // 2 - 1]}…{shown[-(length - length // 2) :]}"


def told_size(tick: Tick) -> str:
    """An address for a person: how far from 0, or from the start of its island."""
    return format_size(tick.phys) if tick.base == tick.phys else f"+{format_size(tick.phys - tick.base)}"


def _paints(lanes: tuple[Lane, ...]) -> list[str]:
    """The paint of each lane: a colour of its own for what is preserved, as far as there are any."""
    preserved = iter(range(len(lanes)))
    return [
        f"p{next(preserved) % _PALETTE}" if lane.category is Category.PRESERVED else lane.category.value
        for lane in lanes
    ]


class _Layout:
    """Where everything goes in one picture."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._paints = _paints(picture.lanes)
        self._names = [clipped(lane.name, _NAME) for lane in picture.lanes]
        self._left = _NAMES + int(max(map(len, self._names)) * _GLYPH) + 14
        self._right = self._x(picture.axis.columns)
        self._address = int((len(f"{picture.axis.end:#x}") + 2) * _GLYPH)
        self._width = self._right + max(_RIGHT, self._address)
        self._bottom = _TOP + len(picture.lanes) * _LANE

    def scene(self) -> Scene:
        """All of it, back to front."""
        picture, height = self._picture, self._bottom + 92
        room = int((self._width - 32) / _GLYPH)
        shapes = (
            Box(0, 0, self._width, height, "page"),
            Label(16, 26, "Physical memory", "title"),
            Label(16, 46, clipped(f"{picture.image}: {picture.title}", room), "text"),
            *self._rows(),
            *self._cuts(),
            *self._bars(),
            *self._axis(),
            *self._key(),
            *self._tips(),
        )
        title = f"Physical memory of {printable(picture.image)}"
        return Scene(self._width, height, title, _described(picture), shapes)

    def _rows(self) -> Iterator[Shape]:
        """The bed of each lane, its name and its size."""
        for row, lane in enumerate(self._picture.lanes):
            y = _TOP + row * _LANE
            yield Box(self._left, y, self._right - self._left, _BAR, "bed")
            yield Box(16, y + 6, 10, 10, self._paints[row])
            tip = None if self._names[row] == lane.name else clipped(lane.name, 2 * _NAME)
            yield Label(_NAMES, y + 16, self._names[row], "text", tip=tip)
            yield Label(self._width - 14, y + 16, format_size(lane.size), "text", "end")

    def _cuts(self) -> Iterator[Shape]:
        """What is left out, and how much that is where there is room to say so."""
        axis, held = self._picture.axis, _held(self._picture)
        last = 0.0
        for row in np.flatnonzero(axis.cut).tolist():
            low, high = int(axis.edges[row]), int(axis.edges[row + 1])
            left, right = (self._x(int(axis.left[each])) for each in (row, row + 1))
            size = format_size(high - low)
            tip = f"left out: {low:#x} to {high:#x}, {size} without anything of KHO's"
            if held[row]:
                tip += f"; {format_size(int(held[row] * (high - low)))} of it in the image"
            yield Box(left, _TOP - 6, right - left, self._bottom - _TOP + 8, "cut", tip, (low, high))
            middle, half = (left + right) // 2, len(size) * _GLYPH / 2
            if middle - half > last:
                yield Label(middle, _TOP - 12, size, "faint", "middle")
                last = middle + half + _GLYPH

    def _bars(self) -> Iterator[Shape]:
        left = (self._left + self._picture.axis.left * COLUMN).tolist()
        for row, paint in enumerate(self._paints):
            cover = self._picture.cover[row]
            height = np.where(cover > 0, np.maximum(np.rint(cover * _BAR), _LEAST), 0).astype(int)
            starts = np.flatnonzero(np.diff(height, prepend=-1)).tolist()
            stops = [*starts[1:], len(height)]
            bars = tuple(
                (left[start], left[stop], int(height[start]))
                for start, stop in zip(starts, stops, strict=True)
                if height[start]
            )
            if bars:
                yield Skyline(_TOP + row * _LANE + _BAR, bars, paint)

    def _axis(self) -> Iterator[Shape]:
        """Addresses, in hex and in units."""
        ticks = self._picture.axis.ticks(max(_TICK_COLUMNS, self._address // COLUMN))
        for tick in ticks:
            yield from self._tick(tick, self._x(tick.column), "start")
        yield from self._tick(self._picture.axis.end_tick(ticks), self._width - 14, "end")

    def _tick(self, tick: Tick, x: int, anchor: str) -> Iterator[Shape]:
        yield Box(self._x(tick.column), self._bottom, 1, 7, "mark")
        yield Label(x, self._bottom + 20, f"{tick.phys:#x}", "text", anchor)
        yield Label(x, self._bottom + 35, told_size(tick), "faint", anchor)

    def _key(self) -> Iterator[Shape]:
        """What the marks mean."""
        x, y = 16, self._bottom + 66
        marks = [("all of a column's bytes", 11), ("a part of them, as high as it is large", 4)]
        if self._picture.axis.cut.any():
            marks.append(("left out: nothing of KHO's there", 0))
        for text, height in marks:
            yield Box(x, y, 10, 11, "bed")
            yield Skyline(y + 11, ((x, x + 10, height),), "ink") if height else Box(x, y, 10, 11, "cut")
            yield Label(x + 16, y + 10, text, "text")
            x += 16 + int((len(text) + 3) * _GLYPH)

    def _tips(self) -> Iterator[Shape]:
        """What is said of each segment, at its place, wide enough to be hit."""
        picture, found = self._picture, self._picture.segments
        left = (self._left + picture.axis.columns_of(found.start) * COLUMN).tolist()
        right = (self._left + (picture.axis.columns_of(found.end - np.uint64(1)) + 1) * COLUMN).tolist()
        columns = (found.lane, found.start, found.end)
        for row, (lane, start, end) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            y, width = _TOP + lane * _LANE, max(right[row] - left[row], COLUMN)
            yield Box(left[row], y, width, _BAR, "tip", told(picture, row), (start, end))

    def _x(self, column: int) -> int:
        return self._left + column * COLUMN


def _held(picture: Picture) -> list[float]:
    """The share of each bin that is in the image."""
    rows = [row for row, lane in enumerate(picture.lanes) if lane.category is Category.IMAGE]
    share: list[float] = picture.cover[rows].sum(axis=0).tolist()
    return share


def told(picture: Picture, row: int) -> str:
    """What there is to say about a segment."""
    found = picture.segments
    start, end, size = int(found.start[row]), int(found.end[row]), int(found.size[row])
    order, highest, pieces = int(found.order[row]), int(found.highest[row]), int(found.pieces[row])
    said = [f"{start:#x} to {end:#x}", format_size(size)]
    if size < end - start:
        said[-1] += f" of {format_size(end - start)}"
    if pieces > 1:
        said.append(f"{pieces} pieces")
    if order != NO_ORDER:
        said.append(f"order {order}" if order == highest else f"orders {order} to {highest}")
    owner = picture.owner(row)
    if owner is not None:
        said.append(clipped(owner, _TIP_NAME))
    return ", ".join(said)


def _described(picture: Picture) -> str:
    """The whole picture in words."""
    axis = picture.axis
    lanes = "; ".join(f"{clipped(lane.name, _NAME)}: {format_size(lane.size)}" for lane in picture.lanes)
    return f"From {axis.start:#x} to {axis.end:#x}, in {len(picture.lanes)} lanes. {lanes}."
