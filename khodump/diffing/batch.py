"""Differences between two maps, as columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from khodump.columns.arrays import U8, U64
from khodump.columns.table import Columns, groups

#: In a column of block sizes (log2): not preserved.
NO_BLOCK: Final = 64

_ONE = np.uint64(1)


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
ADDED, REMOVED, REORDERED, UNKNOWN = range(len(CHANGES))


@dataclass(frozen=True, eq=False)
class Batch(Columns):
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

    def joined(self) -> Batch:
        """With every row that goes on in the next joined to it."""
        if len(self) < 2:
            return self
        begins = self.start[1:] != self.end[:-1]
        for column in (self.change, self.old, self.new, self.old_owner, self.new_owner):
            begins |= column[1:] != column[:-1]
        first, last = groups(len(self), begins)
        return replace(self.take(first), end=self.end[last])

    @property
    def step(self) -> U64:
        """log2 of the smaller of the two sides' blocks, in bytes, a row."""
        step: U64 = np.minimum(self.old, self.new).astype(np.uint64)
        return step

    def cells(self, unit: int) -> U64:
        """How many blocks of size `step` each row touches."""
        shift = self.step - np.uint64(unit)
        return ((self.end - _ONE) >> shift) - (self.start >> shift) + _ONE
