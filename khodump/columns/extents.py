"""A preserved map as columns: runs of neighbouring blocks of one order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from khodump.columns.arrays import I64, U8, U64, Bool, distinct
from khodump.columns.intervals import Intervals
from khodump.extras import require, require_arrow

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: In a column of orders: none.
NO_ORDER: Final = 255

_ONE = np.uint64(1)
_SLICE: Final = 1 << 16  # runs that are looked at together: what that takes fits a cache


class Preservation(NamedTuple):
    """One preserved block: `page_size << order` bytes from physical address `phys`."""

    phys: int
    order: int


@dataclass(frozen=True, slots=True)
class OrderTotal:
    """How much is preserved at one order: blocks, and bytes."""

    order: int
    count: int
    size: int


@dataclass(frozen=True, eq=False)
class Extents:
    """Runs: `count` blocks of `page_size << order` bytes each, one after the other from `phys`.

    `len()` and iteration go by preservation (block); columns go by run. 17 bytes a run.

    Attributes:
        page_shift: log2 of the page size in bytes, which gives orders their size.
        phys: uint64, physical byte address of each run.
        order: uint8.
        count: uint64, blocks in the run, at least 1.
    """

    page_shift: int
    phys: U64
    order: U8
    count: U64

    @classmethod
    def empty(cls, page_shift: int) -> Self:
        """No runs at all."""
        return cls(page_shift, np.zeros(0, np.uint64), np.zeros(0, np.uint8), np.zeros(0, np.uint64))

    @classmethod
    def concatenate(cls, page_shift: int, parts: Iterable[Extents]) -> Extents:
        """The runs of all parts, in that order; a run that goes on in the next part is joined to it."""
        kept: list[Extents] = []
        for part in parts:
            rest = part
            if kept and part and kept[-1]._goes_on_in(part):  # noqa: SLF001 - of the same class
                last = kept[-1]
                count = last.count.copy()
                count[-1] += part.count[0]
                kept[-1] = cls(page_shift, last.phys, last.order, count)
                rest = part.take(slice(1, None))
            if rest:
                kept.append(rest)
        if not kept:
            return cls.empty(page_shift)
        return cls(
            page_shift,
            np.concatenate([part.phys for part in kept]),
            np.concatenate([part.order for part in kept]),
            np.concatenate([part.count for part in kept]),
        )

    def _goes_on_in(self, other: Extents) -> bool:
        """Whether the last run and the first of `other` are one."""
        end = self.phys[-1] + (self.count[-1] << (np.uint64(self.order[-1]) + self._page_bits))
        return bool(end == other.phys[0] and self.order[-1] == other.order[0])

    @property
    def block_shift(self) -> U64:
        """log2 of the block size in bytes, a run."""
        return self.order.astype(np.uint64) + self._page_bits

    @property
    def _page_bits(self) -> np.uint64:
        return np.uint64(self.page_shift)

    @property
    def size(self) -> U64:
        """Bytes a run."""
        return self.count << self.block_shift

    @property
    def end(self) -> U64:
        """The first physical address after each run."""
        return self.phys + self.size

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.phys)

    @property
    def total_size(self) -> int:
        """Bytes of all runs; a page that is preserved at two orders counts twice."""
        return sum(total.size for total in self.totals())

    def __len__(self) -> int:
        """How many preservations there are."""
        return int(self.count.sum())

    def __bool__(self) -> bool:
        return self.runs > 0

    def __iter__(self) -> Iterator[Preservation]:
        """Every preservation, one object at a time; columns are faster."""
        columns = (self.phys, self.order, self.count, self.block_shift)
        for phys, order, count, shift in zip(*(column.tolist() for column in columns), strict=True):
            for index in range(count):
                yield Preservation(phys + (index << shift), order)

    @cached_property
    def is_apart(self) -> bool:
        """Whether the runs are sorted by address and none overlaps the next."""
        parts = (self.take(slice(at, at + _SLICE + 1)) for at in range(0, self.runs, _SLICE))
        return all(bool((part.end[:-1] <= part.phys[1:]).all()) for part in parts)

    def take(self, index: I64 | Bool | slice) -> Extents:
        """The runs that `index` (positions or a mask) selects."""
        return Extents(self.page_shift, self.phys[index], self.order[index], self.count[index])

    def joined(self, seams: I64 | None = None) -> Extents:
        """The same preservations, with each run that goes on in the next joined to it.

        Args:
            seams: the rows that may go on from the row before; by default all but the first.
        """
        joins = self._seamless() if seams is None else seams[self._goes_on(seams)]
        if not len(joins):
            return self
        kept = np.ones(self.runs, np.bool_)
        kept[joins] = False
        first = np.flatnonzero(kept)
        count = self.count[first]
        np.add.at(count, np.searchsorted(first, joins, "right") - 1, self.count[joins])
        return Extents(self.page_shift, self.phys[first], self.order[first], count)

    def _seamless(self) -> I64:
        """The rows that go on from the row before."""
        found = [np.zeros(0, np.int64)]
        for at in range(1, self.runs, _SLICE):
            part = self.take(slice(at - 1, at + _SLICE))
            meets = (part.end[:-1] == part.phys[1:]) & (part.order[:-1] == part.order[1:])
            found.append(np.flatnonzero(meets) + at)
        return np.concatenate(found)

    def _goes_on(self, rows: I64) -> Bool:
        """Whether each of these rows goes on from the row before."""
        before = self.take(rows - 1)
        meets: Bool = (self.phys[rows] == before.end) & (self.order[rows] == before.order)
        return meets

    def sorted(self) -> Extents:
        """By address, the lower order first where two begin together."""
        if (self.phys[:-1] < self.phys[1:]).all():
            return self.joined()
        return self.take(np.lexsort((self.order, self.phys))).joined()

    def totals(self) -> tuple[OrderTotal, ...]:
        """Blocks and bytes by order, ascending."""
        totals = []
        one = self and self.order.min() == self.order.max()
        for order in self.order[:1].tolist() if one else distinct(self.order):
            count = int((self.count if one else self.count[self.order == order]).sum())
            totals.append(OrderTotal(order, count, count << (self.page_shift + order)))
        return tuple(totals)

    def select(
        self, *, orders: Iterable[int] | None = None, start: int = 0, end: int | None = None
    ) -> Extents:
        """The preservations of these orders that touch physical bytes `start` to `end` (exclusive)."""
        return self.selected(orders=orders, start=start, end=end)[0]

    def selected(
        self, *, orders: Iterable[int] | None = None, start: int = 0, end: int | None = None
    ) -> tuple[Extents, I64]:
        """As `select`, with the run of `self` that each run is a part of."""
        if end is not None and end <= start:
            return self.empty(self.page_shift), np.zeros(0, np.int64)
        shift = self.block_shift
        first = (np.maximum(self.phys, np.uint64(start)) - self.phys) >> shift
        stop = self.count
        if end is not None and end < 1 << 64:
            room = np.maximum(self.phys, np.uint64(end)) - self.phys
            stop = np.minimum(stop, (room >> shift) + ((room & ((_ONE << shift) - _ONE)) > 0))
        wanted = first < stop
        if orders is not None:
            wanted &= np.isin(self.order, np.array(list(orders), np.int64))
        kept = np.flatnonzero(wanted)
        first, stop, shift = first[kept], stop[kept], shift[kept]
        return Extents(
            self.page_shift, self.phys[kept] + (first << shift), self.order[kept], stop - first
        ), kept

    def pages(self, limit: int = 1 << 16) -> Iterator[tuple[U64, U8, I64]]:
        """Every preservation as columns (phys, order, run it belongs to), at most `limit` rows at a time."""
        last = np.cumsum(self.count)
        at, total = 0, int(last[-1]) if self else 0
        while at < total:
            stop = min(at + limit, total)
            low, high = np.searchsorted(last, np.array([at, stop - 1], np.uint64), "right").tolist()
            part = self.take(slice(low, high + 1))
            ends = last[low : high + 1]
            shift = part.block_shift
            base = part.phys - (ends - part.count << shift)  # of the block that row 0 would be
            rows = np.diff(np.minimum(ends, np.uint64(stop)), prepend=np.uint64(at)).astype(np.int64)
            run = np.repeat(np.arange(len(rows)), rows)
            phys = np.arange(at, stop, dtype=np.uint64)
            phys <<= shift[0] if (shift == shift[0]).all() else shift[run]
            phys += base[run]
            yield phys, part.order[run], run + low
            at = stop

    def orders_at(self, phys: U64) -> U8:
        """The order of the block that begins at each address; NO_ORDER where none does, the largest where several do."""
        found = np.full(len(phys), NO_ORDER, np.uint8)
        if not len(phys):
            return found
        if self.is_apart:
            self._mark_starts(phys, found)
            return found
        for order in distinct(self.order):
            self.take(self.order == order)._covered()._mark_starts(phys, found)  # noqa: SLF001 - its own
        return found

    def block_sizes_at(self, phys: U64) -> U64:
        """Bytes of the block that begins at each address, the largest where several do; a page where none does."""
        return self.block_sizes(self.orders_at(phys))

    def block_sizes(self, orders: U8) -> U64:
        """Bytes of a block of each order; a page for NO_ORDER."""
        shift = np.where(orders == NO_ORDER, np.uint64(0), orders.astype(np.uint64))
        return _ONE << (shift + self._page_bits)

    def _covered(self) -> Extents:
        """The same blocks, all of one order, each once: runs that overlap joined, and sorted."""
        covered = Intervals.covering(self.phys, self.end)
        count = (covered.end - covered.start) // (self.size // self.count)[0]
        return Extents(self.page_shift, covered.start, np.full(len(count), self.order[0], np.uint8), count)

    def _mark_starts(self, phys: U64, found: U8) -> None:
        """Put the orders of the blocks that begin at these addresses into `found`; for sorted runs that are apart."""
        if not self.runs:
            return
        row = np.maximum(np.searchsorted(self.phys, phys, "right") - 1, 0)
        start, order = self.phys[row], self.order[row]
        shift = order.astype(np.uint64) + self._page_bits
        hit = (start <= phys) & (phys - start < self.count[row] << shift)
        hit &= phys & ((_ONE << shift) - _ONE) == 0
        found[hit] = order[hit]

    def lookup(self, phys: int) -> tuple[Preservation, ...]:
        """The preservations that cover a physical byte address, by ascending order; usually none or one."""
        at = np.uint64(phys)
        hits = np.flatnonzero((self.phys <= at) & (at < self.end))
        found = []
        for run in hits.tolist():
            shift, start = int(self.block_shift[run]), int(self.phys[run])
            found.append(Preservation(start + ((phys - start) >> shift << shift), int(self.order[run])))
        return tuple(sorted(found, key=lambda hit: hit.order))

    def to_arrow(self) -> pa.Table:
        """A pyarrow.Table with a row a run: phys, order, count, and size in bytes; the page size is metadata.

        Raises:
            MissingExtraError: PyArrow is not installed.
        """
        arrow = require_arrow("to_arrow()")
        columns = {"phys": self.phys, "order": self.order, "count": self.count, "size": self.size}
        return arrow.table(columns, metadata={"khodump.page_size": str(1 << self.page_shift)})

    def to_pandas(self) -> pd.DataFrame:
        """A pandas.DataFrame with the columns of `to_arrow()`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = require("pandas", extra="pandas", purpose="to_pandas()")
        columns = {"phys": self.phys, "order": self.order, "count": self.count, "size": self.size}
        return pandas.DataFrame(columns)
