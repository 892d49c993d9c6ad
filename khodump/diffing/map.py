"""Two preserved maps against each other, a window of addresses at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from khodump.columns.arrays import I64, U8, U64
from khodump.columns.steps import overlay
from khodump.diffing.batch import ADDED, REMOVED, REORDERED, UNKNOWN, Batch
from khodump.diffing.side import Side

_ONE = np.uint64(1)
_WINDOW: Final = 1 << 15  # runs of a side that are compared at once: what they become fits a cache
_BATCH: Final = 1 << 14  # differences that come together, so that a table's first ones tell how wide they are


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
        count = 0
        for batch in self._windows():
            held += [batch] if len(batch) else []
            count += len(batch)
            if count >= _BATCH:
                whole = Batch.concatenate(held).joined()
                if len(whole) > 1:
                    yield whole.take(slice(0, -1))
                held, count = [whole.take(slice(-1, None))], 1  # it may go on
        if held:
            yield Batch.concatenate(held).joined()

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
    """The masks of several layers together; of owners there is one layer at most."""
    if len(states) == 1:
        return states[0]
    union: U64 = np.bitwise_or.reduce(states) if states else np.zeros(length, np.uint64)
    return union


def _compared(start: U64, end: U64, old: _State, new: _State) -> Batch:
    """The differences among these pieces of memory."""
    rows = np.flatnonzero((old.blocks != new.blocks) & (start < end))
    start, end, old, new = start[rows], end[rows], old.take(rows), new.take(rows)
    gone, come = old.blocks & ~new.blocks, new.blocks & ~old.blocks
    change = np.full(len(rows), REORDERED, np.uint8)
    change[old.blocks == 0] = ADDED
    change[new.blocks == 0] = REMOVED
    change[(gone & ~new.unknown | come & ~old.unknown) == 0] = UNKNOWN
    lanes: list[Batch] = []
    rows = np.arange(len(rows))
    while len(rows) or not lanes:  # once, but for damage
        old_bit, new_bit = _lowest(gone[rows]), _lowest(come[rows])
        columns = change[rows], start[rows], end[rows], _log2(old_bit), _log2(new_bit)
        lanes.append(Batch(*columns, old.owner[rows], new.owner[rows]).joined())
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
