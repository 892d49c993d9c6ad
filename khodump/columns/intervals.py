"""Sets of bytes as columns of intervals: sorted, apart from each other, ends exclusive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from khodump.columns.arrays import I64, U64
from khodump.columns.table import groups


@dataclass(frozen=True, eq=False)
class Intervals:
    """A set of physical bytes.

    Attributes:
        start, end: uint64 columns, sorted; no two intervals touch or overlap.
    """

    start: U64
    end: U64

    @classmethod
    def covering(cls, start: U64, end: U64) -> Self:
        """The bytes of any intervals, in any order, overlapping or not; empty ones count for nothing."""
        filled = start < end
        if not filled.all():
            start, end = start[filled], end[filled]
        if (start[1:] > end[:-1]).all():  # apart already: of millions, no copies are made
            return cls(start, end)
        if (start[1:] < start[:-1]).any():
            start, end = _by_start(start, end)
        reach = np.maximum.accumulate(end)
        del end  # here and below, a column of millions less
        first, last = groups(len(start), start[1:] > reach[:-1])
        return cls(start[first], reach[last])

    @property
    def size(self) -> int:
        """Bytes in the set."""
        return int((self.end - self.start).sum())

    def minus(self, other: Intervals) -> Intervals:
        """The bytes that are not in `other`."""
        edge = np.zeros(1, np.uint64)
        gap_start = np.concatenate([edge, other.end])
        gap_end = np.concatenate([other.start, ~edge])
        start, end, _, _ = meet(self.start, self.end, gap_start, gap_end)
        return Intervals(start, end)


def _by_start(start: U64, end: U64) -> tuple[U64, U64]:
    order = np.argsort(start, kind="stable")
    return start[order], end[order]


def meet(start: U64, end: U64, other_start: U64, other_end: U64) -> tuple[U64, U64, I64, I64]:
    """Where intervals of two lists overlap.

    The first list may be in any order, and its intervals may overlap each other. Those of the other list must be sorted
    by start and by end.

    Returns:
        Start and end of each overlap, and the rows of the two lists that make it; in the order of the first list.
    """
    low = np.searchsorted(other_end, start, "right")
    high = np.searchsorted(other_start, end, "left")
    count = np.maximum(high - low, 0)
    row = np.repeat(np.arange(len(start)), count)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    other = low[row] + nth
    return np.maximum(start[row], other_start[other]), np.minimum(end[row], other_end[other]), row, other


def without(start: U64, end: U64, other: Intervals) -> tuple[U64, U64, I64]:
    """The parts of each interval that are not in `other`, and whose they are."""
    edge = np.zeros(1, np.uint64)
    gaps = np.concatenate([edge, other.end]), np.concatenate([other.start, ~edge])
    left_start, left_end, row, _ = meet(start, end, *gaps)
    return left_start, left_end, row
