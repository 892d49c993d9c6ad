"""Two radix trees against each other, word by word: how much differs, without making runs of it.

Bits alone tell what became of a page where no bit differs, or all blocks of both sides are of one order. Elsewhere a block
that went may have come back as one of another order, or lie beneath one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from khodump.columns.arrays import U64, distinct
from khodump.columns.extents import NO_ORDER, OrderTotal
from khodump.diffing.batch import ADDED, NO_BLOCK, REMOVED
from khodump.diffing.census import Census
from khodump.diffing.tally import Tally
from khodump.handover import Handover
from khodump.tracker import Walk
from khodump.trackers.radix import RadixTracker

_ZERO, _ONE, _TOP = np.uint64(0), np.uint64(1), np.uint64(63)
_BATCH_BYTES: Final = 1 << 18  # of a side's bitmaps: what comparing them takes fits a cache


@dataclass(frozen=True)
class BitDiff:
    """How much differs between two maps, and what each comes to."""

    tally: Tally
    old: Census
    new: Census


def bit_diff(old: Handover, new: Handover) -> BitDiff | None:
    """As `MapDiff`, in numbers; None where bits do not tell, be it for damage, another kind of map or several orders."""
    if not isinstance(old.tracker, RadixTracker) or not isinstance(new.tracker, RadixTracker):
        return None
    if old.tracker.geometry != new.tracker.geometry:
        return None
    before, after = _Side(old, old.tracker), _Side(new, new.tracker)
    if before.walk.findings or after.walk.findings:
        return None
    gone, come = _Runs(), _Runs()
    for prefixes in _batches(before, after):
        first, second = before.words(prefixes), after.words(prefixes)
        if first is None or second is None:
            return None
        if not np.array_equal(first, second):
            gone.add(first & ~second, prefixes)
            come.add(second & ~first, prefixes)
        if gone.runs + come.runs and len(before.blocks | after.blocks) > 1:
            return None
    tally = Tally()
    for order in before.blocks | after.blocks:
        size = old.tracker.page_shift + order
        for key, found in (((REMOVED, size, NO_BLOCK), gone), ((ADDED, NO_BLOCK, size), come)):
            if found.runs:
                tally.runs[key], tally.pages[key] = found.runs, found.bits << order
    return BitDiff(tally, before.census(), after.census())


class _Side:
    """One of the trees, read some leaves at a time.

    Attributes:
        tracker: whose it is.
        walk: takes its nodes and findings.
        leaves: pointers to them, by ascending key prefix.
        blocks: how many were read so far, by order.
    """

    def __init__(self, handover: Handover, tracker: RadixTracker) -> None:
        self.walk = Walk()
        self.leaves = tracker.leaves(self.walk)
        self.blocks: Counter[int] = Counter()
        self.tracker, self._watch = tracker, handover.watch
        self._tables = len(self.walk.nodes)

    def words(self, prefixes: U64) -> U64 | None:
        """The bitmaps of these ascending prefixes, a row each, without a leaf zeros; None if one does not tell all.

        That is one that cannot be read, or whose blocks are not all of one order.
        """
        low, high = np.searchsorted(
            self.leaves.prefix, prefixes[[0, -1]] + np.array([0, 1], np.uint64)
        ).tolist()
        part = self.leaves.take(slice(low, high))
        read, orders = self.tracker.bitmaps(part, self.walk)
        if len(read) < len(part):
            return None
        counts = np.bitwise_count(read).sum(axis=1, dtype=np.int64)
        for order in distinct(orders[counts > 0]):
            self.blocks[order] += int(counts[orders == order].sum())
        if NO_ORDER in self.blocks:
            return None
        if self._watch is not None:
            self._watch(self._tables + high, self._tables + high if high == len(self.leaves) else 0)
        if len(part) == len(prefixes):
            return read
        words = np.zeros((len(prefixes), read.shape[1]), np.uint64)
        words[np.searchsorted(prefixes, part.prefix)] = read
        return words

    def census(self) -> Census:
        """Once all was read."""
        shift = self.tracker.page_shift
        totals = (
            OrderTotal(order, count, count << shift + order) for order, count in sorted(self.blocks.items())
        )
        return Census(tuple(totals), len(self.walk.nodes))


class _Runs:
    """Set bits, and runs of them, counted through bitmaps that come by ascending key prefix."""

    def __init__(self) -> None:
        self.bits = self.runs = 0
        self._next, self._carry = -1, _ZERO

    def add(self, words: U64, prefixes: U64) -> None:
        """Bitmaps, a row for each prefix."""
        self.bits += int(np.bitwise_count(words).sum(dtype=np.int64))
        before = words << _ONE
        before[:, 1:] |= words[:, :-1] >> _TOP
        before[1:, 0] |= np.where(np.diff(prefixes) == _ONE, words[:-1, -1] >> _TOP, _ZERO)
        if int(prefixes[0]) == self._next:
            before[0, 0] |= self._carry
        self.runs += int(np.bitwise_count(words & ~before).sum(dtype=np.int64))
        self._next, self._carry = int(prefixes[-1]) + 1, words[-1, -1] >> _TOP


def _batches(old: _Side, new: _Side) -> Iterator[U64]:
    """The key prefixes of which either side has a leaf, ascending, some at a time."""
    prefixes = np.array(distinct(np.concatenate([old.leaves.prefix, new.leaves.prefix])), np.uint64)
    step = _BATCH_BYTES >> old.tracker.page_shift
    for at in range(0, len(prefixes), step):
        yield prefixes[at : at + step]
