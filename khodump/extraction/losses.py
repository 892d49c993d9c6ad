"""What of a plan the image does not hold, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from khodump.columns.arrays import I64, U8, U64
from khodump.columns.intervals import meet
from khodump.columns.table import groups
from khodump.extraction.plan import Plan, Runs
from khodump.memory import Hole, PhysicalMemory, Presence
from khodump.rounding import ceil_div


class Loss(NamedTuple):
    """A stretch of the output that cannot be told.

    Attributes:
        offset: where in the output, in bytes.
        size: bytes.
        phys: physical byte address of what belongs there; None where nothing says.
        reason: why, as the end of a sentence.
    """

    offset: int
    size: int
    phys: int | None
    reason: str


@dataclass(frozen=True, eq=False)
class Losses:
    """All pages of a plan that cannot be told, as columns. A page that is there in part counts as missing.

    Attributes:
        plan: what they are missing from.
        runs: pages that are not in the image, sorted by page.
        presence: uint8 `Presence` a run.
    """

    plan: Plan
    runs: Runs
    presence: U8

    @classmethod
    def of(cls, plan: Plan, runs: Runs, presence: U8) -> Losses:
        """With neighbours joined that are missing for the same reason."""
        begins = runs.begins() | (presence[1:] != presence[:-1])
        first, _ = groups(len(runs), begins)
        return cls(plan, runs.joined(begins), presence[first])

    @property
    def size(self) -> int:
        """Bytes of the output that cannot be told."""
        return self.plan.size_of(self.runs) + (self.plan.gap_size if self.plan.doubt else 0)

    def __len__(self) -> int:
        return len(self.runs) + len(self._doubted)

    def is_any(self, presence: Presence) -> bool:
        """Whether any page is missing for that reason."""
        return bool((self.presence == presence).any())

    def is_all(self, presence: Presence) -> bool:
        """Whether nothing is missing for another reason."""
        return not len(self._doubted) and bool((self.presence == presence).all())

    def head(self, limit: int | None = None) -> Iterator[Loss]:
        """The first stretches: those that are not in the image, then those that nothing tells of."""
        plan, runs = self.plan, self.runs
        columns = (runs.pfn, runs.page, runs.count, self.presence)
        for pfn, page, count, presence in zip(*(column[:limit].tolist() for column in columns), strict=True):
            phys = pfn * plan.page_size + (plan.skip if page == 0 else 0)
            yield Loss(plan.position(page), plan.bytes_of(page, count), phys, Presence(presence).reason)
        gaps = self._doubted
        left = None if limit is None else max(limit - len(runs), 0)
        for page, count in zip(gaps.page[:left].tolist(), gaps.count[:left].tolist(), strict=True):
            yield Loss(plan.position(page), plan.bytes_of(page, count), None, plan.doubt or "")

    @property
    def _doubted(self) -> Runs:
        return self.plan.gaps() if self.plan.doubt else Runs.none()


def find_losses(memory: PhysicalMemory, plan: Plan) -> Losses:
    """What the image says beforehand that it does not hold; that pages are cut off or damaged may show when read."""
    runs = plan.runs
    start, end, presence = _tiles(memory, plan.page_size)
    low, high, row, tile = meet(runs.pfn, runs.pfn + runs.count, start, end)
    lost = Runs(low, runs.page[row] + (low - runs.pfn[row]), high - low)
    lost, kept = _without_edges(memory, plan, lost)
    return Losses.of(plan, lost, presence[tile][kept])


def read_edge(memory: PhysicalMemory, plan: Plan, pfn: int, page: int) -> bytes | None:
    """The wanted bytes of a page that is wanted in part, where these are there though the page is not; else None."""
    size = plan.bytes_of(page, 1)
    if size == plan.page_size:
        return None
    data = memory.read(pfn * plan.page_size + (plan.skip if page == 0 else 0), size)
    return None if isinstance(data, Hole) else data


def _tiles(memory: PhysicalMemory, page_size: int) -> tuple[U64, U64, U8]:
    """All pages that are not wholly there: first and last (exclusive) PFN, and why; sorted, without overlaps.

    With pages of 4 KiB and ranges 0x0-0x1800 (present) and 0x1800-0x3000 (excluded), page 0 is there, pages 1 and 2 are
    excluded, and all from page 3 on are absent: (1, 3, EXCLUDED), (3, 2^52, ABSENT).
    """
    rows: list[tuple[int, int, int]] = []
    reached = 0
    for start, end, presence in memory.ranges:
        if presence == Presence.PRESENT:
            first, stop = ceil_div(start, page_size), end // page_size
        else:  # a page that is there in part is missing for the reason of its other part, if that is given
            first, stop = start // page_size, ceil_div(end, page_size)
        first = max(min(first, stop), reached)
        rows.append((reached, first, Presence.ABSENT))
        rows.append((first, stop, presence))
        reached = max(reached, stop)
    rows.append((reached, (1 << 64) // page_size, Presence.ABSENT))
    missing = [row for row in rows if row[0] < row[1] and row[2] != Presence.PRESENT]
    first_page, last_page, kind = zip(*missing, strict=True) if missing else ((), (), ())
    return np.array(first_page, np.uint64), np.array(last_page, np.uint64), np.array(kind, np.uint8)


def _without_edges(memory: PhysicalMemory, plan: Plan, lost: Runs) -> tuple[Runs, I64]:
    """The lost pages without those whose wanted bytes are there all the same, and which rows are left."""
    first, count = lost.page.copy(), lost.count.copy()
    for page in {0, plan.pages - 1}:
        for row in np.flatnonzero((lost.page <= page) & (page < lost.end)).tolist():
            pfn = int(lost.pfn[row]) + page - int(lost.page[row])
            if read_edge(memory, plan, pfn, page) is not None:
                first[row] += page == int(first[row])
                count[row] -= 1
    kept = np.flatnonzero(count)
    runs = Runs(lost.pfn + (first - lost.page), first, count)
    return runs.take(kept), kept
