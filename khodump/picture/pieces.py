"""What a picture of physical memory shows, as columns, before anybody decides where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from khodump.columns.arrays import I64, U8, U64, Bool
from khodump.columns.extents import NO_ORDER
from khodump.columns.table import Columns
from khodump.handover import Handover
from khodump.memory import Presence
from khodump.numbers import format_size
from khodump.ownership import NOBODY, Ownership
from khodump.picture.view import By

#: Owners or orders that get a lane of their own; the rest share one.
_LANES: Final = 12
_TOP: Final = (1 << 64) - (1 << 16)  # columns are uint64: the last page is left out


class Category(StrEnum):
    """What memory is, to KHO."""

    IMAGE = "image"
    MISSING = "missing"
    SCRATCH = "scratch"
    PRESERVED = "preserved"
    UNCLAIMED = "unclaimed"
    LOST = "lost"
    TRACKER = "tracker"


@dataclass(frozen=True)
class Lane:
    """A row of the picture.

    Attributes:
        name: for a person; it may come from the image.
        category: what is in it.
        size: bytes in it.
    """

    name: str
    category: Category
    size: int


@dataclass(frozen=True, eq=False)
class Pieces(Columns):
    """Stretches of memory as columns, those of a lane together and sorted by start.

    Attributes:
        lane: int64, row of the lanes.
        start, end: uint64, physical bytes.
        order: uint8, of preserved blocks; NO_ORDER for all else.
        owner: int64, row of the owners, or NOBODY.
    """

    lane: I64
    start: U64
    end: U64
    order: U8
    owner: I64

    @classmethod
    def of(
        cls, lane: int, start: U64, end: U64, *, order: U8 | None = None, owner: I64 | None = None
    ) -> Pieces:
        """The pieces of one lane."""
        orders = np.full(len(start), NO_ORDER, np.uint8) if order is None else order
        owners = np.full(len(start), NOBODY, np.int64) if owner is None else owner
        lanes = np.full(len(start), lane, np.int64)
        if (start[:-1] <= start[1:]).all():  # of millions, no copies are made
            return cls(lanes, start, end, orders, owners)
        by_start = np.argsort(start, kind="stable")
        return cls(lanes, start[by_start], end[by_start], orders[by_start], owners[by_start])

    def within(self, start: int, end: int) -> Pieces:
        """What of them is in `start` to `end`."""
        if ((self.start < self.end) & (self.start >= np.uint64(start)) & (self.end <= np.uint64(end))).all():
            return self
        low, high = np.maximum(self.start, np.uint64(start)), np.minimum(self.end, np.uint64(end))
        kept = low < high
        return Pieces(self.lane[kept], low[kept], high[kept], self.order[kept], self.owner[kept])


def collect(handover: Handover, by: By) -> tuple[tuple[Lane, ...], Pieces, tuple[str, ...]]:
    """The lanes from top to bottom, what is in them, and the owners."""
    found = _Collector(handover.page_size, handover.nobody, is_whole=handover.is_whole)
    _memory(handover, found)
    regions = [region for region in handover.scratch or () if not region.wraps]
    if regions:
        start = np.array([region.addr for region in regions], np.uint64)
        end = np.array([region.end for region in regions], np.uint64)
        found.add("scratch", Category.SCRATCH, start, end)
    ownership = handover.ownership
    if by is By.ORDER:
        found.add_orders(ownership)
    else:
        found.add_owners(ownership)
    found.add("map's own pages", Category.TRACKER, *handover.map_pages)
    return tuple(found.lanes), Pieces.concatenate(found.parts), tuple(map(str, ownership.owners))


def _memory(handover: Handover, found: _Collector) -> None:
    """What the image holds, and what it tells of but does not hold."""
    ranges = handover.memory.ranges
    bounds = np.array([(min(low, _TOP), min(high, _TOP)) for low, high, _ in ranges], np.uint64).reshape(
        -1, 2
    )
    held = np.array([each.presence for each in ranges], np.uint8) == Presence.PRESENT
    found.add("in the image", Category.IMAGE, bounds[held, 0], bounds[held, 1])
    if not held.all():
        found.add("left out of the image", Category.MISSING, bounds[~held, 0], bounds[~held, 1])


class _Collector:
    """Lanes, and what is in them."""

    def __init__(self, page_size: int, nobody: str, *, is_whole: bool) -> None:
        self.lanes: list[Lane] = []
        self.parts: list[Pieces] = []
        self._page_size = page_size
        self._nobody = nobody
        self._is_whole = is_whole

    def add(
        self,
        name: str,
        category: Category,
        start: U64,
        end: U64,
        *,
        order: U8 | None = None,
        owner: I64 | None = None,
    ) -> None:
        """One more lane; what wraps around the end of the address space is cut off there."""
        wraps = end < start
        if wraps.any() or (end > np.uint64(_TOP)).any():
            end = np.minimum(np.where(wraps, np.uint64(_TOP), end), np.uint64(_TOP))
            start = np.minimum(start, end)
        self.parts.append(Pieces.of(len(self.lanes), start, end, order=order, owner=owner))
        self.lanes.append(Lane(name, category, int((end - start).sum())))

    def add_orders(self, ownership: Ownership) -> None:
        """A lane for each order; of very many, which no kernel has, the higher share one."""
        orders = np.unique(ownership.order).tolist()
        for order in orders[:_LANES]:
            name = f"order {order} ({format_size(self._page_size << order)})"
            self._add_preserved(name, Category.PRESERVED, ownership, ownership.order == order)
        higher = orders[_LANES:]
        if higher:
            name = f"orders {higher[0]} to {higher[-1]}"
            self._add_preserved(name, Category.PRESERVED, ownership, ownership.order >= higher[0])

    def add_owners(self, ownership: Ownership) -> None:
        """A lane for each of the larger owners, one for the rest, and what is amiss."""
        sizes = np.zeros(len(ownership.owners) + 1, np.uint64)
        np.add.at(sizes, ownership.owner, ownership.end - ownership.start)  # NOBODY is the last
        largest = np.argsort(sizes[:-1], kind="stable")[::-1]
        largest = largest[sizes[largest] > 0]
        for row in largest[:_LANES].tolist():
            name = str(ownership.owners[row])
            self._add_preserved(name, Category.PRESERVED, ownership, ownership.owner == row)
        smaller = largest[_LANES:]
        if len(smaller):
            name = f"{len(smaller)} smaller owners"
            self._add_preserved(name, Category.PRESERVED, ownership, np.isin(ownership.owner, smaller))
        if sizes[-1]:
            self._add_preserved(self._nobody, Category.UNCLAIMED, ownership, ownership.owner == NOBODY)
        if len(ownership.missing_start):
            start, end, owner = ownership.missing_start, ownership.missing_end, ownership.missing_owner
            state = "not preserved" if self._is_whole else "not found in what could be read"
            self.add(f"claimed, {state}", Category.LOST, start, end, owner=owner)

    def _add_preserved(self, name: str, category: Category, ownership: Ownership, rows: Bool) -> None:
        start, end = ownership.start[rows], ownership.end[rows]
        self.add(name, category, start, end, order=ownership.order[rows], owner=ownership.owner[rows])
