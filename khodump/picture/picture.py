"""`khodump map`: a picture of physical memory, as columns that a drawing only has to place.

However many pieces there are, a picture is bounded: a lane has one number a column, and the segments, which carry what
there is to say about single places, are joined where they would be too many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from khodump.columns.arrays import F64, I64, U8, U64
from khodump.columns.extents import NO_ORDER
from khodump.columns.intervals import Intervals
from khodump.columns.table import Columns
from khodump.handover import Handover
from khodump.numbers import format_size
from khodump.ownership import NOBODY
from khodump.picture.axis import Axis, Canvas, island_axis, linear_axis
from khodump.picture.pieces import Category, Lane, Pieces, collect
from khodump.picture.view import Scale, View
from khodump.rounding import ceil_div, round_up
from khodump.rows import Block, Column, Fact, Head, Kind, Result, Rows, Tail

#: Segments that a picture has at most.
SEGMENTS: Final = 256
#: The owner of a segment that several own.
SEVERAL: Final = -2

_COLUMNS: Final = (
    Column("lane", Kind.TEXT),
    Column("category", Kind.TEXT),
    Column("start", Kind.ADDRESS),
    Column("end", Kind.ADDRESS),
    Column("size", Kind.SIZE),
    Column("pieces", Kind.COUNT),
    Column("order", Kind.COUNT),
    Column("highest order", Kind.COUNT),
    Column("owner", Kind.TEXT),
)


@dataclass(frozen=True, eq=False)
class Segments(Columns):
    """Places in the lanes as columns, those of a lane together and sorted by start.

    Attributes:
        lane: int64, row of the lanes.
        start, end: uint64, physical bytes from the first piece to the last.
        size: uint64, bytes of the pieces; less than end - start where there is room between them.
        pieces: int64, how many were joined.
        order, highest: uint8, of preserved blocks; NO_ORDER for all else.
        owner: int64, row of the owners of all pieces; or NOBODY, or SEVERAL.
    """

    lane: I64
    start: U64
    end: U64
    size: U64
    pieces: I64
    order: U8
    highest: U8
    owner: I64


@dataclass(frozen=True, eq=False)
class Picture:
    """Physical memory, ready to be drawn.

    Attributes:
        image: what it is of, for a person.
        title: what that holds, for a person; both may come from the image.
        axis: from left to right.
        lanes: from top to bottom.
        cover: float64, lanes by bins of the axis: the share of the bin's bytes, from 0 to 1.
        segments: what can be said about single places.
        owners: that segments name.
    """

    image: str
    title: str
    axis: Axis
    lanes: tuple[Lane, ...]
    cover: F64
    segments: Segments
    owners: tuple[str, ...]

    def owner(self, segment: int) -> str | None:
        """Whose a segment is, where that is known."""
        row = int(self.segments.owner[segment])
        return {NOBODY: None, SEVERAL: "(several)"}[row] if row < 0 else self.owners[row]


def paint(handover: Handover, view: View, canvas: Canvas) -> Picture:
    """The picture of a handover for the room that a drawing has."""
    lanes, pieces, owners = collect(handover, view.by)
    start, end = _bounds(pieces, view, handover.page_size)
    lanes, pieces = _in_view(lanes, pieces.within(start, end))
    if view.scale is Scale.LINEAR:
        axis = linear_axis(start, end, canvas)
    else:
        axis = island_axis(start, end, _shown(pieces, lanes), canvas, handover.page_size)
    preserved = handover.preserved
    counted = f"{len(preserved)} preservations, {format_size(preserved.total_size)}"
    if handover.is_refuted:
        counted = "what is preserved is not known"
    title = f"{handover.version}, {format_size(handover.page_size)} pages, {counted}"
    cover = np.stack([_cover(axis, pieces, lane) for lane in range(len(lanes))])
    return Picture(handover.memory.description, title, axis, lanes, cover, _segments(axis, pieces), owners)


def segments_of(handover: Handover, view: View, canvas: Canvas) -> Result:
    """What a picture shows, as rows: a row a segment."""
    picture = paint(handover, view, canvas)
    axis = picture.axis
    facts = (
        Fact("start", axis.start, Kind.ADDRESS),
        Fact("end", axis.end, Kind.ADDRESS),
        Fact("by", view.by.value, Kind.TEXT),
    )
    return Result(
        "khodump.map/1",
        lambda: Head(facts),
        Rows("segments", _COLUMNS, _blocks(picture)),
        lambda: tail_of(handover),
    )


def tail_of(handover: Handover) -> Tail:
    """What was drawn, and what could not be."""
    preserved, nodes = handover.preserved, handover.nodes
    summary = (
        f"drew {len(preserved)} preservations in {preserved.runs} runs, {format_size(preserved.total_size)}"
    )
    if handover.is_refuted:
        summary = "drew nothing of what is preserved: how to read the map is not known"
    if handover.scratch is None:
        summary += "; nothing tells where scratch is"
    missing = sum(nodes.missing().values())
    if missing:
        summary += f"; {missing} of the map's {len(nodes)} nodes unreadable: what they hold is not drawn"
    if handover.user_findings and handover.successor is None:
        summary += f"; owners may be missing: {handover.nobody}"
    if handover.basis_of_sessions:
        summary += f"; {handover.basis_of_sessions}"
    if handover.is_map_gone:
        summary += "; this is what is left of a map that was given back"
    return Tail(summary, handover.told(handover.all_findings), is_partial=handover.is_map_gone)


def _bounds(pieces: Pieces, view: View, page_size: int) -> tuple[int, int]:
    """The addresses to draw, on whole pages."""
    if len(pieces):
        start, end = int(pieces.start.min()), int(pieces.end.max())
    else:
        start, end = 0, page_size
    start = start if view.start is None else view.start
    end = end if view.end is None else view.end
    start -= start % page_size
    top = (1 << 64) - (1 << 16)
    start = min(start, top - page_size)
    return start, min(max(round_up(end, page_size), start + page_size), top)


def _in_view(lanes: tuple[Lane, ...], pieces: Pieces) -> tuple[tuple[Lane, ...], Pieces]:
    """The lanes that have anything to show, with the bytes that are shown; what the image holds is always told."""
    sizes = np.zeros(len(lanes), np.uint64)
    np.add.at(sizes, pieces.lane, pieces.end - pieces.start)
    kept = (sizes > 0) | [lane.category is Category.IMAGE for lane in lanes]
    rows = np.flatnonzero(kept).tolist()
    shown = tuple(replace(lanes[row], size=int(sizes[row])) for row in rows)
    return shown, replace(pieces, lane=(np.cumsum(kept) - 1)[pieces.lane])


def _shown(pieces: Pieces, lanes: tuple[Lane, ...]) -> Intervals:
    """What there must be room for: all but what the image holds, unless there is nothing else."""
    plain = [row for row, lane in enumerate(lanes) if lane.category in (Category.IMAGE, Category.MISSING)]
    shown = ~np.isin(pieces.lane, plain)
    if not shown.any():
        shown[:] = True
    return Intervals.covering(pieces.start[shown], pieces.end[shown])


def _cover(axis: Axis, pieces: Pieces, lane: int) -> F64:
    """The share of each bin that the pieces of a lane cover."""
    first, stop = np.searchsorted(pieces.lane, [lane, lane + 1])
    filled = Intervals.covering(pieces.start[first:stop], pieces.end[first:stop])
    if not len(filled.start):
        return np.zeros(len(axis.cut))
    # Bytes below each edge: those of all intervals that begin before it, but for what the last has above it.
    none = np.zeros(1, np.uint64)
    before = np.searchsorted(filled.start, axis.edges, "left")
    sizes = np.concatenate([none, np.cumsum(filled.end - filled.start, dtype=np.uint64)])
    ends = np.concatenate([none, filled.end])
    below = sizes[before] - (np.maximum(ends[before], axis.edges) - axis.edges)
    share: F64 = np.diff(below).astype(np.float64) / np.diff(axis.edges).astype(np.float64)
    return share


def _segments(axis: Axis, pieces: Pieces) -> Segments:
    """The pieces, joined where they are too many: those of a lane that begin in neighbouring bins."""
    count = np.ones(len(pieces), np.int64)
    found = Segments(
        pieces.lane,
        pieces.start,
        pieces.end,
        pieces.end - pieces.start,
        count,
        pieces.order,
        pieces.order,
        pieces.owner,
    )
    cell = axis.bins_of(pieces.start)
    cells = len(axis.cut)
    while len(found) > SEGMENTS and cells > 1:
        key = found.lane * cells + cell
        firsts = np.flatnonzero(np.diff(key, prepend=-1))
        found, cell = _joined(found, firsts), cell[firsts] // 2
        cells = ceil_div(cells, 2)
    return found


def _joined(found: Segments, firsts: I64) -> Segments:
    """Segments joined from each of `firsts` to the next."""
    if not len(firsts):
        return found
    least, most = (each.reduceat(found.owner, firsts) for each in (np.minimum, np.maximum))
    return Segments(
        found.lane[firsts],
        np.minimum.reduceat(found.start, firsts),
        np.maximum.reduceat(found.end, firsts),
        np.add.reduceat(found.size, firsts),
        np.add.reduceat(found.pieces, firsts),
        np.minimum.reduceat(found.order, firsts),
        np.maximum.reduceat(found.highest, firsts),
        np.where(least == most, least, SEVERAL),
    )


def _blocks(picture: Picture) -> Iterator[Block]:
    found = picture.segments
    rows = range(len(found))
    lanes = [picture.lanes[lane] for lane in found.lane.tolist()]
    orders, highest = (
        [None if order == NO_ORDER else order for order in column.tolist()]
        for column in (found.order, found.highest)
    )
    yield (
        [lane.name for lane in lanes],
        [lane.category.value for lane in lanes],
        found.start,
        found.end,
        found.size,
        found.pieces,
        orders,
        highest,
        [picture.owner(row) for row in rows],
    )
