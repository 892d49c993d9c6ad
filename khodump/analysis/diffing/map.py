"""Two preserved maps against each other, by byte and block size, a window of addresses at a time.

A byte's state is the set of block sizes at which it is preserved, as a mask with a bit for each log2: one bit, or several
where blocks of several orders overlap, as only damage makes them. Orders are compared by the size of their blocks, so that
kernels with different page sizes can be told apart from maps that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import numpy as np

from khodump.arrays import I64, U8, U64, Bool
from khodump.extents import Extents
from khodump.intervals import Intervals
from khodump.steps import Steps, overlay

#: In a column of block sizes (log2): not preserved.
NO_BLOCK: Final = 64

_ONE = np.uint64(1)
_WINDOW: Final = 1 << 15  # runs of a side that are compared at once: what they become fits a cache
_BATCH: Final = 1 << 14  # differences that come together, so that a table's first ones tell how wide they are


class Change(StrEnum):
    """What became of some bytes, or of something that they mean."""

    ADDED = "added"
    REMOVED = "removed"
    REORDERED = "reordered"
    UNKNOWN = "unknown"  # one side's pages that would tell cannot be read
    CHANGED = "changed"
    MOVED = "moved"


#: By their code in a column.
CHANGES: Final = (Change.ADDED, Change.REMOVED, Change.REORDERED, Change.UNKNOWN)
_ADDED, _REMOVED, _REORDERED, _UNKNOWN = range(len(CHANGES))


class _Layer(Protocol):
    """Steps that may be too many to hold at once."""

    def marks(self, every: int) -> U64:
        """See `Steps.marks`."""

    def between(self, start: int, end: int) -> Steps:
        """See `Steps.between`."""


@dataclass(frozen=True, eq=False)
class _Runs:
    """The block sizes of runs that are sorted and apart, by page number."""

    extents: Extents
    unit: int

    def marks(self, every: int) -> U64:
        return self.extents.phys[::every] >> np.uint64(self.unit)

    def between(self, start: int, end: int) -> Steps:
        phys, unit = self.extents.phys, np.uint64(self.unit)
        first = max(int(np.searchsorted(phys, np.uint64(start << self.unit), "right")) - 1, 0)
        stop = int(np.searchsorted(phys, np.uint64((end << self.unit) - 1), "right"))
        part = self.extents.take(slice(first, stop))
        shift, low = part.block_shift, part.phys >> unit
        return Steps.of_runs(low, low + (part.count << (shift - unit)), _ONE << shift).clipped(start, end)


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two maps.

    Attributes:
        preserved: its runs, sorted by address; they may overlap.
        unknown: masks of the block sizes at which nobody can tell whether a page is preserved; by page number, in the
            smaller page size of the two sides.
        owner: row of the owners' names plus 1; by page number, too.
    """

    preserved: Extents
    unknown: Steps | None = None
    owner: Steps | None = None

    def layers(self, unit: int) -> tuple[Sequence[_Layer], ...]:
        """Layers of its block sizes, of what is unknown, and of owners."""
        unknown, owner = ([layer] if layer is not None else [] for layer in (self.unknown, self.owner))
        return self._blocks(unit), unknown, owner

    def _blocks(self, unit: int) -> list[_Layer]:
        """The masks of its block sizes, in layers of which each page is in one at most."""
        tangled = _tangled(self.preserved)
        if tangled is None:
            return [_Runs(self.preserved, unit)]
        return [_Runs(self.preserved.take(~tangled), unit), _untangled(self.preserved.take(tangled), unit)]


def _tangled(extents: Extents) -> Bool | None:
    """Which runs overlap others; None when none does."""
    if all(
        bool((part.end[:-1] <= part.phys[1:]).all())
        for at in range(0, extents.runs, 1 << 20)
        for part in [extents.take(slice(at, at + (1 << 20) + 1))]
    ):
        return None
    reach = np.maximum.accumulate(extents.end)
    overlaps = reach[:-1] > extents.phys[1:]
    tangled = np.zeros(extents.runs, np.bool_)
    tangled[1:] = overlaps
    tangled[:-1] |= extents.end[:-1] > extents.phys[1:]
    return tangled


def _untangled(extents: Extents, unit: int) -> Steps:
    """Overlapping runs as one function of the page number."""
    spans = []
    for order in np.unique(extents.order).tolist():
        runs = extents.take(extents.order == order)
        low, shift = runs.phys >> np.uint64(unit), runs.page_shift + order
        spans.append((shift, Intervals.covering(low, low + (runs.count << np.uint64(shift - unit)))))
    return masks_of(spans)


def masks_of(spans: Iterable[tuple[int, Intervals]]) -> Steps:
    """The masks of block sizes that (log2 of a size, pages) pairs make."""
    layers = [
        Steps.of_runs(pages.start, pages.end, np.full(len(pages.start), 1 << shift, np.uint64))
        for shift, pages in spans
    ]
    edge, states = overlay(layers)
    return Steps(edge, np.bitwise_or.reduce(states))


@dataclass(frozen=True, eq=False)
class Batch:
    """Some differences, as columns, sorted by address.

    A byte that a side preserves at several orders has a row for each that the other side has not.

    Attributes:
        change: uint8, position in CHANGES.
        start, end: uint64, page numbers in the smaller page size.
        old, new: uint8, log2 of the block size on either side; NO_BLOCK where it is not preserved (at this order).
        old_owner, new_owner: uint64, as in `Side.owner`.
    """

    change: U8
    start: U64
    end: U64
    old: U8
    new: U8
    old_owner: U64
    new_owner: U64

    def __len__(self) -> int:
        return len(self.start)

    def take(self, index: slice | I64) -> Batch:
        """The rows that `index` selects."""
        return Batch(
            self.change[index],
            self.start[index],
            self.end[index],
            self.old[index],
            self.new[index],
            self.old_owner[index],
            self.new_owner[index],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Batch]) -> Batch:
        """All rows of all parts, of which there is one at least."""
        names = [column.name for column in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def step(self) -> U64:
        """log2 of the smaller of the two sides' blocks, in bytes, a row."""
        step: U64 = np.minimum(self.old, self.new).astype(np.uint64)
        return step

    def cells(self, unit: int) -> U64:
        """How many blocks of size `step` each row touches."""
        shift = self.step - np.uint64(unit)
        return ((self.end - _ONE) >> shift) - (self.start >> shift) + _ONE


@dataclass(frozen=True, eq=False)
class MapDiff:
    """What two maps do not have in common."""

    old: Side
    new: Side

    @property
    def unit(self) -> int:
        """log2 of the bytes that page numbers count."""
        return min(self.old.preserved.page_shift, self.new.preserved.page_shift)

    def batches(self) -> Iterator[Batch]:
        """All differences by address, each as long as it goes, in bounded batches of one row at least."""
        held: list[Batch] = []
        for batch in self._windows():
            held += [batch] if len(batch) else []
            if sum(map(len, held)) >= _BATCH:
                whole = _joined(Batch.concatenate(held))
                if len(whole) > 1:
                    yield whole.take(slice(0, -1))
                held = [whole.take(slice(-1, None))]  # it may go on
        if held:
            yield _joined(Batch.concatenate(held))

    def cut(self, batches: Iterable[Batch], limit: int) -> Iterator[Batch]:
        """The same differences, cut at every block of the smaller of the two sides' sizes, `limit` rows at a time at most."""
        unit = self.unit
        for batch in batches:
            cells = batch.cells(unit)
            last = np.cumsum(cells)
            total = int(cells.sum())
            for at in range(0, total, limit):
                rows = np.arange(at, min(at + limit, total), dtype=np.uint64)
                run = np.searchsorted(last, rows, "right")
                part = batch.take(run)
                shift = part.step - np.uint64(unit)
                cell = (part.start >> shift) + rows - (last[run] - cells[run])
                yield replace(
                    part,
                    start=np.maximum(part.start, cell << shift),
                    end=np.minimum(part.end, (cell + _ONE) << shift),
                )

    def _windows(self) -> Iterator[Batch]:
        unit, top = self.unit, 1 << 64 - self.unit
        groups = [*self.old.layers(unit), *self.new.layers(unit)]
        layers = [layer for group in groups for layer in group]
        marks = np.unique(np.concatenate([layer.marks(_WINDOW) for layer in layers])).tolist()
        for start, end in zip([0, *marks[1:]], [*marks[1:], top], strict=True):
            edge, states = overlay([layer.between(start, end) for layer in layers])
            given = iter(states)
            columns = [_union([next(given) for _ in group], len(edge)) for group in groups]
            ends = np.append(edge, np.uint64(end))[1:]
            yield _compared(edge, ends, _State(*columns[:3]), _State(*columns[3:]))


class _State(NamedTuple):
    """What one side says of some pieces of memory, as columns; see `Side`."""

    blocks: U64
    unknown: U64
    owner: U64

    def take(self, index: I64) -> _State:
        return _State(self.blocks[index], self.unknown[index], self.owner[index])


def _union(states: Sequence[U64], length: int) -> U64:
    """The masks of layers of which one counts at a time."""
    if len(states) == 1:
        return states[0]
    union: U64 = np.bitwise_or.reduce(states) if states else np.zeros(length, np.uint64)
    return union


def _compared(start: U64, end: U64, old: _State, new: _State) -> Batch:
    """The differences among these pieces of memory."""
    rows = np.flatnonzero((old.blocks != new.blocks) & (start < end))
    start, end, old, new = start[rows], end[rows], old.take(rows), new.take(rows)
    gone, come = old.blocks & ~new.blocks, new.blocks & ~old.blocks
    change = np.full(len(rows), _REORDERED, np.uint8)
    change[old.blocks == 0] = _ADDED
    change[new.blocks == 0] = _REMOVED
    change[(gone & ~new.unknown | come & ~old.unknown) == 0] = _UNKNOWN
    lanes: list[Batch] = []
    rows = np.arange(len(rows))
    while len(rows) or not lanes:  # once, but for damage
        old_bit, new_bit = _lowest(gone[rows]), _lowest(come[rows])
        columns = change[rows], start[rows], end[rows], _log2(old_bit), _log2(new_bit)
        lanes.append(_joined(Batch(*columns, old.owner[rows], new.owner[rows])))
        gone[rows] ^= old_bit
        come[rows] ^= new_bit
        rows = np.flatnonzero(gone | come)
    if len(lanes) == 1:
        return lanes[0]
    whole = Batch.concatenate(lanes)
    return whole.take(np.argsort(whole.start, kind="stable"))


def _lowest(mask: U64) -> U64:
    """The lowest bit of each mask, alone; 0 of 0."""
    bit: U64 = mask & (~mask + _ONE)
    return bit


def _log2(bit: U64) -> U8:
    """Of powers of two; NO_BLOCK of 0."""
    found: U8 = np.bitwise_count(bit - _ONE)
    return found


def _joined(batch: Batch) -> Batch:
    """With every row that goes on in the next joined to it."""
    if len(batch) < 2:
        return batch
    fresh = np.ones(len(batch.start), np.bool_)
    np.not_equal(batch.start[1:], batch.end[:-1], out=fresh[1:])
    for column in (batch.change, batch.old, batch.new, batch.old_owner, batch.new_owner):
        fresh[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(fresh)
    last = np.append(first[1:], len(fresh)) - 1
    return replace(batch.take(first), end=batch.end[last])
