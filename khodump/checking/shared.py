"""Which users of KHO claim the same memory: pairs of owners, and where they meet.

No count bounds what is looked through; its shape does. What is claimed twice is the union of all overlaps, so between two
pieces of it that one claim reaches over lies memory of that claim alone: the pieces of all claims together are no more than
three times the claims. Each piece is told with one that it meets, and not with all: every owner that shares memory is in a
pair, and there are no more pairs than pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from khodump.columns.arrays import I64, U64
from khodump.columns.intervals import Intervals, meet
from khodump.columns.table import groups
from khodump.findings import Entry
from khodump.handover import Handover
from khodump.owner import Owner
from khodump.ownership import resolved
from khodump.subtree import Claims

_TOP: Final = np.uint64((1 << 64) - 1)


class Shared(NamedTuple):
    """Memory that two owners claim.

    Attributes:
        first, second: who they are, in the order in which they claim; one owner twice where an owner does so itself.
        phys: the lowest address of it.
        size: bytes.
        met: the address in it that the second owner names first.
        entry: the entry that names it; None where that is not known.
    """

    first: Owner
    second: Owner
    phys: int
    size: int
    met: int
    entry: Entry | None = None


def shared_claims(handover: Handover, twice: Intervals) -> tuple[Shared, ...]:
    """Pairs of owners that claim the same memory; each that shares some is in one of them.

    Args:
        handover: whose users' claims are looked through.
        twice: the memory that more than one claim covers.
    """
    if not len(twice.start):
        return ()
    names: dict[Owner, int] = {}
    met: dict[int, tuple[int, Entry | None]] = {}
    parts: list[tuple[U64, U64, I64]] = []
    for claims in handover.claims():
        start, end = _spans(handover, claims)
        low, high, rows, _ = meet(start, end, twice.start, twice.end)
        if not len(low):
            continue
        owner = names.setdefault(claims.owner, len(names))
        if owner not in met:
            met[owner] = int(low[0]), claims.named(int(rows[0]))
        parts.append((low, high, np.full(len(low), owner, np.int64)))
    start, end, column = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    owners = tuple(names)
    return tuple(
        Shared(owners[first], owners[second], phys, size, *met[second])
        for first, second, phys, size in _pairs(start, end, column)
    )


def _spans(handover: Handover, claims: Claims) -> tuple[U64, U64]:
    """Start and end of each claim, cut off where addresses end."""
    start, end = resolved(claims, handover.preserved)
    return start, np.where(end < start, _TOP, end)


def _pairs(start: U64, end: U64, owner: I64) -> Iterator[tuple[int, int, int, int]]:
    """Each pair of owners whose pieces overlap: both, the lowest address, and bytes; the earlier owner is the first."""
    order = np.lexsort((owner, start))
    start, end, owner = start[order], end[order], owner[order]
    reach = np.maximum.accumulate(end)
    leads = np.where(end == reach, np.arange(len(end)), 0)
    holder = np.maximum.accumulate(leads)[:-1]  # the piece that reaches furthest, of those before
    rows = np.flatnonzero(start[1:] < reach[:-1])
    others = owner[holder[rows]]
    mine = owner[rows + 1]
    first = np.minimum(others, mine)
    second = np.maximum(others, mine)
    low = start[rows + 1]
    size = np.minimum(end[rows + 1], reach[rows]) - low
    order = np.lexsort((low, second, first))
    first, second, low, size = first[order], second[order], low[order], size[order]
    begins = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    for begin, last in zip(*groups(len(first), begins), strict=True):
        yield int(first[begin]), int(second[begin]), int(low[begin]), int(size[begin : last + 1].sum())
