"""The axis of a picture of physical memory: addresses to columns, with empty stretches left out or not.

Real handovers are small islands in a vast space. On a linear axis they vanish, and so they do on a logarithmic one,
which has room for low addresses alone. So the logarithmic scale here is one of lengths: stretches without anything to
show are cut out, largest first, and what is left, the islands, gets room by the logarithm of its size. Within an island
an axis is linear, so that sizes can be compared there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from khodump.columns.arrays import I64, U64, Bool
from khodump.columns.intervals import Intervals

#: A gap is worth cutting out when it would take this share of the axis, or more.
_WASTE: Final = 1 / 24
#: So is a smaller one, of this share, next to something that is this many times smaller again: that is hardly seen.
_SEEN: Final = 1 / 200
_APART: Final = 64
#: The room of an island of a page; each doubling adds 1.
_LEAST_ROOM: Final = 8
_CANDIDATES: Final = 256


class Canvas(NamedTuple):
    """The room there is for an axis.

    Attributes:
        columns: in all.
        gap: columns that a stretch takes which is left out.
        islands: at most so many.
    """

    columns: int
    gap: int
    islands: int


class Tick(NamedTuple):
    """A place that is worth a label.

    Attributes:
        phys: physical byte address.
        column: where it is.
        base: the labelled address of its island that it is told from, or its own.
    """

    phys: int
    column: int
    base: int


@dataclass(frozen=True, eq=False)
class Axis:
    """Bins of physical addresses, one after the other.

    Attributes:
        edges: uint64; bin i is physical bytes edges[i] to edges[i + 1] (exclusive).
        left: int64, the first column of each bin, and the end of the last.
        cut: bool, whether a bin is a stretch that is left out.
    """

    edges: U64
    left: I64
    cut: Bool

    @property
    def start(self) -> int:
        """The first address."""
        return int(self.edges[0])

    @property
    def end(self) -> int:
        """The first address past the last bin."""
        return int(self.edges[-1])

    @property
    def columns(self) -> int:
        """How many there are."""
        return int(self.left[-1])

    def bins_of(self, phys: U64) -> I64:
        """The bin of each address, which must be on the axis."""
        bins: I64 = np.searchsorted(self.edges, phys, "right") - 1
        return np.minimum(bins, len(self.cut) - 1)

    def columns_of(self, phys: U64) -> I64:
        """The column in which each address is, ends of the axis included."""
        return self.left[np.searchsorted(self.edges, phys, "right") - 1]

    @property
    def cuts(self) -> list[tuple[int, int]]:
        """Start and end of the stretches that are left out."""
        rows = np.flatnonzero(self.cut).tolist()
        return [(int(self.edges[row]), int(self.edges[row + 1])) for row in rows]

    def ticks(self, room: int) -> list[Tick]:
        """The start of each island, then round addresses, as long as each has `room` columns; by column."""
        islands = [
            (int(self.edges[first]), int(self.edges[stop]), stop - first) for first, stop in self._islands()
        ]
        ticks: list[Tick] = []
        for start, _, _ in islands:
            self._add(ticks, start, start, room)
        bases = {tick.phys for tick in ticks}
        for start, end, bins in islands:
            step = 1 << ((end - start) * room // bins).bit_length()
            for phys in range(start - start % step + step, end, step):
                self._add(ticks, phys, start if start in bases else phys, room)
        return sorted(ticks)

    def _add(self, ticks: list[Tick], phys: int, base: int, room: int) -> None:
        """A tick, if there is room for it."""
        column = int(self.columns_of(np.array([phys], np.uint64))[0])
        near = any(abs(column - tick.column) < room for tick in ticks)
        if not near and self.columns - column >= room:
            ticks.append(Tick(phys, column, base))

    def end_tick(self, ticks: list[Tick]) -> Tick:
        """The end of the axis, told from the start of the last island if that is among the `ticks`."""
        islands = self._islands()
        start = int(self.edges[islands[-1][0]]) if islands and not self.cut[-1] else self.end
        base = start if any(tick.phys == start for tick in ticks) else self.end
        return Tick(self.end, self.columns, base)

    def _islands(self) -> list[tuple[int, int]]:
        """First and end bin of each stretch without cuts."""
        padded = np.concatenate([[True], self.cut, [True]])
        firsts = np.flatnonzero(padded[:-1] & ~padded[1:]).tolist()
        stops = np.flatnonzero(~padded[:-1] & padded[1:]).tolist()
        return list(zip(firsts, stops, strict=True))


def linear_axis(start: int, end: int, canvas: Canvas) -> Axis:
    """The addresses from `start` to `end`, every column as many bytes."""
    return _axis([(start, end)], [False], [canvas.columns])


def island_axis(start: int, end: int, filled: Intervals, canvas: Canvas, page_size: int) -> Axis:
    """The addresses from `start` to `end`, without the larger stretches between what is `filled`.

    Args:
        start: physical byte address, page-aligned.
        end: the same, exclusive.
        filled: what to show.
        canvas: the room there is.
        page_size: bytes; what is left out begins and ends on a page.
    """
    if not len(filled.start):
        return linear_axis(start, end, canvas)
    islands = _islands(start, end, _gaps(start, end, filled, page_size), canvas.islands, page_size)
    stretches, cut = [], []
    at = start
    for low, high in islands:
        stretches += [(at, low), (low, high)]
        cut += [True, False]
        at = high
    stretches.append((at, end))
    cut.append(True)
    kept = [row for row, (low, high) in enumerate(stretches) if low < high]
    stretches, cut = [stretches[row] for row in kept], [cut[row] for row in kept]
    room = max(canvas.columns - canvas.gap * sum(cut), len(islands))
    shares = iter(_shares([_room(low, high, page_size) for low, high in islands], room))
    return _axis(stretches, cut, [canvas.gap if gap else next(shares) for gap in cut])


def _gaps(start: int, end: int, filled: Intervals, page_size: int) -> list[tuple[int, int]]:
    """The largest stretches of pages with nothing in them, by address."""
    page = np.uint64(page_size - 1)
    lows = np.concatenate([np.array([start], np.uint64), (filled.end + page) & ~page])
    highs = np.concatenate([filled.start & ~page, np.array([end], np.uint64)])
    lows, highs = np.maximum(lows, np.uint64(start)), np.minimum(highs, np.uint64(end))
    size = np.where(lows < highs, highs - lows, np.uint64(0))
    largest = np.sort(np.argsort(size, kind="stable")[-_CANDIDATES:])
    largest = largest[size[largest] > 0]
    return list(zip(lows[largest].tolist(), highs[largest].tolist(), strict=True))


def _islands(
    start: int, end: int, gaps: list[tuple[int, int]], limit: int, page_size: int
) -> list[tuple[int, int]]:
    """What is left of start..end when the gaps that waste most are cut out of it, one at a time."""
    islands = [(start, end)]
    while True:
        total = sum(_room(*island, page_size) for island in islands)
        merits = []
        for low, high in islands:
            share = _room(low, high, page_size) / total / (high - low)
            for gap in gaps:
                splits = low < gap[0] and gap[1] < high
                if low <= gap[0] and gap[1] <= high and (not splits or len(islands) < limit):
                    merits.append((_merit(share, low, high, gap), gap, (low, high)))
        merit, (low, high), island = max(merits, default=(0.0, (0, 0), (0, 0)))
        if not merit:
            return islands
        at = islands.index(island)
        pieces = ((island[0], low), (high, island[1]))
        islands[at : at + 1] = [piece for piece in pieces if piece[0] < piece[1]]


def _merit(share: float, low: int, high: int, gap: tuple[int, int]) -> float:
    """What cutting a gap out of the island `low` to `high` is good for; 0 if nothing.

    Args:
        share: of the axis that a byte of the island takes.
        low: physical byte address.
        high: the same, exclusive.
        gap: start and end.
    """
    size = gap[1] - gap[0]
    if share * size >= _WASTE:
        return 1 + share * size
    apart = size >= _APART * min(gap[0] - low, high - gap[1])
    return share * size if apart and share * size >= _SEEN else 0.0


def _room(low: int, high: int, page_size: int) -> float:
    return _LEAST_ROOM + float(np.log2(max((high - low) / page_size, 1)))


def _shares(rooms: list[float], columns: int) -> list[int]:
    """Columns for each, by its room; they add up, and nobody gets none."""
    spare = columns - len(rooms)
    ends = np.round(np.cumsum(rooms) / sum(rooms) * spare).astype(int)
    return [1 + int(share) for share in np.diff(ends, prepend=0)]


def _axis(stretches: list[tuple[int, int]], cut: list[bool], columns: list[int]) -> Axis:
    """Stretches that follow each other; one that is cut becomes one bin, others one for each column."""
    edges, left, cuts = [], [], []
    at = 0
    for (low, high), gap, width in zip(stretches, cut, columns, strict=True):
        bins = 1 if gap else min(width, high - low)
        part, rest = divmod(high - low, bins)
        index = np.arange(bins, dtype=np.uint64)
        edges.append(np.uint64(low) + index * np.uint64(part) + index * np.uint64(rest) // np.uint64(bins))
        left.append(at + np.arange(bins) * width // bins)
        cuts.append(np.full(bins, gap))
        at += width
    return Axis(
        np.concatenate([*edges, np.array([stretches[-1][1]], np.uint64)]),
        np.concatenate([*left, np.array([at])]),
        np.concatenate(cuts),
    )
