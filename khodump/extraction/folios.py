"""Where the folios of a memfd belong: memfd_luo_retrieve_folios() of mm/memfd_luo.c, without the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from khodump.abi.memfd import FolioFlags
from khodump.columns.arrays import U64
from khodump.columns.extents import NO_ORDER, Extents
from khodump.extraction.plan import Runs
from khodump.memories.segments import Segments
from khodump.memory import Presence
from khodump.subtrees.memfd import Memfd

#: No file has more pages; larger orders are cut to it, so that they do not overflow.
_MAX_ORDER: Final = 52
_UNKNOWN: Final = np.uint64(0)
_ONE = np.uint64(1)


@dataclass
class Layout:
    """The folios of a file, in place.

    Attributes:
        runs: sorted by page, without overlaps, inside the file.
        folios: how many the array lists.
        outside: those among them that begin past the end of the file.
        stale: those that were not up to date.
        guessed: those that the preserved map does not hold, so that their size is a guess.
        unread: entries of the array that the image does not hold.
        nameless: entries that name no memory, as no kernel writes them: some folio was meant.
        overlap: pages that more than one folio claims.
    """

    runs: Runs
    folios: int = 0
    outside: int = 0
    stale: int = 0
    guessed: int = 0
    unread: int = 0
    nameless: int = 0
    overlap: int = 0

    def oddities(self) -> tuple[str, ...]:
        """What is odd about a file whose content is known all the same, for a person."""
        return _told(
            (
                self.stale,
                "folios were not up to date: the next kernel reads zeros there, the file has what memory had",
            )
        )

    def misgivings(self) -> tuple[str, ...]:
        """Why the content may not be what the file had, for a person."""
        return _told(
            (self.unread, "entries of the list of folios are not in the image"),
            (self.nameless, "entries of the list of folios name no memory"),
            (
                self.guessed,
                "folios are not in the preserved map: taken as large as alignment and the next allow",
            ),
            (self.overlap, "pages are claimed by several folios: the first in the list has them"),
        )


def _told(*counts: tuple[int, str]) -> tuple[str, ...]:
    """A sentence for each count that is not 0."""
    return tuple(f"{count} {text}" for count, text in counts if count)


def lay_out(memfd: Memfd, preserved: Extents, pages: int) -> Layout:
    """Put the folios of `memfd` into a file of `pages` pages.

    A folio has the size of the preserved block that begins where it begins. Where several claim a page, the first entry
    of the array has it: the kernel refuses the later one (EEXIST).
    """
    found = Layout(Runs.none())
    shift = np.uint64(preserved.page_shift)
    parts: list[Runs] = []
    for batch in memfd.folios():
        inside = batch.index < np.uint64(pages)
        orders = preserved.orders_at(batch.phys[inside])
        count = _ONE << np.minimum(orders, _MAX_ORDER).astype(np.uint64)
        count[orders == NO_ORDER] = _UNKNOWN
        found.folios += len(batch.phys)
        found.outside += int((~inside).sum())
        found.stale += int((batch.flags & np.uint64(FolioFlags.UPTODATE) == 0).sum())
        found.guessed += int((count == _UNKNOWN).sum())
        found.unread += batch.missing
        found.nameless += len(batch.nameless)
        parts.append(Runs(batch.phys[inside] >> shift, batch.index[inside], count).joined())
    runs = _guessed(Runs.concatenate(parts))
    runs = Runs(runs.pfn, runs.page, np.minimum(runs.count, np.uint64(pages) - runs.page))
    found.runs = _untangled(runs).joined()
    found.overlap = runs.pages - found.runs.pages
    return found


def _guessed(runs: Runs) -> Runs:
    """The runs with a size for the folios that had none: the largest that alignment and the next index allow."""
    unknown = np.flatnonzero(runs.count == _UNKNOWN)
    if not len(unknown):
        return runs
    following = np.minimum(unknown + 1, len(runs) - 1)
    page = runs.page[unknown]
    gap = np.maximum(runs.page[following], page + _ONE) - page
    gap[following == unknown] = _ONE << np.uint64(_MAX_ORDER)  # the last: up to the end of the file
    aligned = page | runs.pfn[unknown]
    count = runs.count.copy()
    count[unknown] = np.minimum(aligned & (~aligned + _ONE), _power_below(gap))
    return Runs(runs.pfn, runs.page, count)


def _power_below(number: U64) -> U64:
    """The largest power of two that is not above each number; exact up to 2^53."""
    _, exponent = np.frexp(number.astype(np.float64))
    return _ONE << (exponent - 1).astype(np.uint64)


def _untangled(runs: Runs) -> Runs:
    """The runs by page, with what an earlier one has taken removed: as with overlapping segments of a dump."""
    count = len(runs)
    told = Segments(
        runs.page,
        runs.end,
        np.full(count, Presence.PRESENT, np.uint8),
        np.zeros(count, np.int64),
        runs.pfn,
    )
    left = told.resolved()
    return Runs(left.offset, left.start, left.end - left.start)
