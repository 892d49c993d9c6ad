"""Two preserved maps against each other, a window of addresses at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from khodump.columns.arrays import U8, U64
from khodump.columns.steps import overlay
from khodump.diffing.batch import ADDED, REMOVED, REORDERED, UNKNOWN, Batch
from khodump.diffing.side import Side, State

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
            if len(batch):
                held.append(batch)
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
        """The differences in one window of page numbers after the other, each of at most `_WINDOW` runs a layer."""
        old = self.old.layers(self.unit)
        new = self.new.layers(self.unit)
        layers = (*old, *new)
        marks = np.unique(np.concatenate([layer.marks(_WINDOW) for layer in layers])).tolist()
        for start, end in pairwise([0, *marks[1:], 1 << 64 - self.unit]):
            edge, states = overlay([layer.between(start, end) for layer in layers])
            next_edge = np.append(edge, np.uint64(end))[1:]
            old_state = old.together(states[: len(old)], len(edge))
            new_state = new.together(states[len(old) :], len(edge))
            yield _compared(edge, next_edge, old_state, new_state)


def _compared(start: U64, end: U64, old: State, new: State) -> Batch:
    """The differences among these pieces of memory."""
    rows = np.flatnonzero((old.blocks != new.blocks) & (start < end))
    start, end = start[rows], end[rows]
    old, new = old.take(rows), new.take(rows)
    gone = old.blocks & ~new.blocks
    come = new.blocks & ~old.blocks
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
