"""Who preserved what: the claims of KHO's users, joined with the preserved map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from khodump.columns.arrays import I64, U8, U64
from khodump.columns.extents import Extents
from khodump.columns.intervals import Intervals, meet, without
from khodump.columns.table import groups
from khodump.owner import Owner
from khodump.subtree import WHOLE_BLOCK, Claims

#: The owner of what nobody claims.
NOBODY: Final = -1

_SLICE: Final = 1 << 16  # runs that are cut together


@dataclass(frozen=True, eq=False)
class Ownership:
    """The preserved map, cut where owners change.

    Attributes:
        owners: those that claim something.
        start, end: uint64, physical bytes of each piece, sorted by start.
        order: uint8, of the preserved blocks of the piece.
        owner: row of `owners`, or NOBODY.
        missing: what is claimed, but not preserved: row of `owners`, and bytes.
        missing_owner: row of `owners` for each interval of `missing_start`, `missing_end`.
        claimed_twice: bytes that more than one claim covers.
    """

    owners: tuple[Owner, ...]
    start: U64
    end: U64
    order: U8
    owner: I64
    missing_start: U64
    missing_end: U64
    missing_owner: I64
    claimed_twice: Intervals

    def owner_of(self, row: int) -> Owner | None:
        """The owner in this row of `owners`; None for NOBODY."""
        return None if row == NOBODY else self.owners[row]

    def extents(self, page_shift: int) -> tuple[Extents, I64]:
        """The pieces as runs, and their owners. A block that several own goes, whole, to the first of them."""
        shift = self.order.astype(np.uint64) + np.uint64(page_shift)
        inside = (np.uint64(1) << shift) - np.uint64(1)
        first, stop = ((column >> shift) + ((column & inside) > 0) for column in (self.start, self.end))
        kept = np.flatnonzero(first < stop)
        first, stop = first[kept], stop[kept]
        return Extents(page_shift, first << shift[kept], self.order[kept], stop - first), self.owner[kept]

    def at(self, phys: int, order: int) -> Owner | None:
        """Who owns a byte of a preserved block of this order; None when nobody does, or there is no such block."""
        at = np.uint64(phys)  # pieces of one order do not overlap
        row = np.flatnonzero((self.start <= at) & (at < self.end) & (self.order == order))
        return self.owner_of(int(self.owner[row[0]])) if len(row) else None


def own(preserved: Extents, claimed: Iterable[Claims]) -> Ownership:
    """Join the claims of all users with the preserved map; claims come and are matched in bounded batches.

    Args:
        preserved: the map.
        claimed: the claims, those that come first in the order in which they win.
    """
    owners: dict[Owner, int] = {}
    parts: list[tuple[U64, U64, I64]] = []
    for claims in claimed:
        owner = owners.setdefault(claims.owner, len(owners))
        start, end = resolved(claims, preserved)
        parts.append(_joined(start, end, owner))
    none = np.zeros(0, np.uint64)
    start = np.concatenate([none, *(part[0] for part in parts)])
    end = np.concatenate([none, *(part[1] for part in parts)])
    owner_column = np.concatenate([none.astype(np.int64), *(part[2] for part in parts)])
    return _own(preserved, tuple(owners), start, end, owner_column)


def resolved(claims: Claims, preserved: Extents) -> tuple[U64, U64]:
    """Start and end of each claim; a whole block that the map does not hold counts as a page."""
    whole = claims.size == WHOLE_BLOCK
    if not whole.any():
        return claims.start, claims.start + claims.size
    blocks = preserved.block_sizes_at(claims.start)
    return claims.start, claims.start + (blocks if whole.all() else np.where(whole, blocks, claims.size))


def _joined(start: U64, end: U64, owner: int) -> tuple[U64, U64, I64]:
    """One owner's claims, with neighbours joined where one follows the other; nothing else is lost."""
    if (start[1:] < start[:-1]).any():
        order = np.argsort(start, kind="stable")
        start, end = start[order], end[order]
    first, last = groups(len(start), start[1:] != end[:-1])
    return start[first], end[last], np.full(len(first), owner, np.int64)


def _own(preserved: Extents, owners: tuple[Owner, ...], start: U64, end: U64, owner: I64) -> Ownership:
    by_start = np.argsort(start, kind="stable")
    start, end, owner = start[by_start], end[by_start], owner[by_start]
    twice = _overlaps(start, end)
    cut, cut_owner = _first_come(start, end, owner)
    pieces = _cut(preserved, cut, cut_owner)
    owned = pieces.owner != NOBODY
    kept = Intervals.covering(pieces.start[owned], pieces.end[owned])  # what is claimed of what is preserved
    missing_start, missing_end, missing = without(cut.start, cut.end, kept)
    return Ownership(
        owners,
        pieces.start,
        pieces.end,
        pieces.order,
        pieces.owner,
        missing_start,
        missing_end,
        cut_owner[missing],
        twice,
    )


class _Pieces(NamedTuple):
    """Columns of `Ownership`."""

    start: U64
    end: U64
    order: U8
    owner: I64


def _cut(preserved: Extents, claims: Intervals, owner: I64) -> _Pieces:
    """The preserved runs, cut where owners change, sorted by start.

    Some runs at a time, where they are apart: there may be millions, and what cutting takes is several times their size.
    """
    claimed = Intervals.covering(claims.start, claims.end)
    step = _SLICE if preserved.is_apart else max(preserved.runs, 1)
    slices = [slice(at, at + step) for at in range(0, max(preserved.runs, 1), step)]
    columns = zip(*(_cut_slice(preserved.take(each), claims, owner, claimed) for each in slices), strict=True)
    return _Pieces(*map(np.concatenate, columns))


def _cut_slice(runs: Extents, claims: Intervals, owner: I64, claimed: Intervals) -> _Pieces:
    held_start, held_end, run, claim = meet(runs.phys, runs.end, claims.start, claims.end)
    free_start, free_end, free_run = without(runs.phys, runs.end, claimed)
    start = np.concatenate([held_start, free_start])
    sort = np.argsort(start, kind="stable")
    end = np.concatenate([held_end, free_end])
    order = np.concatenate([runs.order[run], runs.order[free_run]])
    owners = np.concatenate([owner[claim], np.full(len(free_run), NOBODY, np.int64)])
    return _Pieces(start[sort], end[sort], order[sort], owners[sort])


def _overlaps(start: U64, end: U64) -> Intervals:
    """The bytes in more than one of these intervals, which are sorted by start."""
    if not len(start):
        return Intervals(start, end)
    reach = np.maximum.accumulate(end)[:-1]
    return Intervals.covering(start[1:], np.minimum(end[1:], reach))


def _first_come(start: U64, end: U64, owner: I64) -> tuple[Intervals, I64]:
    """The claims, sorted by start, with what an earlier one has taken removed, so that they are apart."""
    if not len(start):
        return Intervals(start, end), owner
    reach = np.concatenate([np.zeros(1, np.uint64), np.maximum.accumulate(end)[:-1]])
    start = np.maximum(start, np.minimum(reach, end))
    kept = start < end
    return Intervals(start[kept], end[kept]), owner[kept]
