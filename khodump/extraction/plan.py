"""What to copy, as columns of runs of pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from khodump.columns.arrays import U64, Bool
from khodump.columns.table import Columns, groups
from khodump.findings import Finding, Severity
from khodump.owner import Owner
from khodump.rounding import ceil_div


@dataclass(frozen=True, eq=False)
class Runs(Columns):
    """Stretches of pages that follow each other both in memory and in the output; 24 bytes a run.

    Everything is counted in pages, so that nothing overflows at the end of the address space.

    Attributes:
        pfn: uint64, page frame number where the run lies in memory.
        page: uint64, page of the output where it belongs.
        count: uint64, pages in the run.
    """

    pfn: U64
    page: U64
    count: U64

    @property
    def end(self) -> U64:
        """The first page of the output after each run."""
        return self.page + self.count

    @property
    def pages(self) -> int:
        """Pages in all runs."""
        return int(self.count.sum())

    def begins(self) -> Bool:
        """Of each run but the first, whether it does not just go on where the one before ends; empty ones stay alone."""
        goes_on = (self.page[1:] == self.end[:-1]) & (self.pfn[1:] == self.pfn[:-1] + self.count[:-1])
        is_empty = self.count == 0
        begins: Bool = ~goes_on | is_empty[1:] | is_empty[:-1]
        return begins

    def joined(self, begins: Bool | None = None) -> Runs:
        """The same, with each run joined to the one before but where a new one begins; by default `begins()` says where."""
        first, _ = groups(len(self), self.begins() if begins is None else begins)
        if len(first) == len(self):
            return self
        return Runs(self.pfn[first], self.page[first], np.add.reduceat(self.count, first))


@dataclass(frozen=True)
class Plan:
    """How to rebuild something. The bytes wanted may begin and end inside a page.

    Attributes:
        what: is rebuilt, for a person; names from the image are quoted.
        page_size: bytes.
        size: bytes of the output.
        runs: where its pages lie, sorted by `page`, without overlaps, and all inside the output.
        skip: bytes of page 0 before the output begins; less than a page.
        parts: how many folios or blocks it is made of, and what these are called.
        doubt: why the places that no run fills may be more than holes; None when they are holes.
        warnings: what is odd about it, one sentence each.
        misgivings: why what is written may not be what was preserved, one sentence each.
        owner: whom it belongs to, as in `khodump.subtree.Claims`; None for bare memory.
    """

    what: str
    page_size: int
    size: int
    runs: Runs
    skip: int = 0
    parts: tuple[int, str] = (1, "range")
    doubt: str | None = None
    warnings: tuple[str, ...] = ()
    misgivings: tuple[str, ...] = ()
    owner: Owner | None = None

    def is_in_doubt(self, findings: Iterable[Finding]) -> bool:
        """Whether one of these is an error about the owner, or what is below it."""
        owner = self.owner
        if owner is None:
            return False
        errors = (finding for finding in findings if finding.severity is Severity.ERROR)
        return any(finding.owner is not None and owner.holds(finding.owner) for finding in errors)

    @property
    def pages(self) -> int:
        """Pages that the output touches."""
        return ceil_div(self.skip + self.size, self.page_size) if self.size else 0

    def size_of(self, runs: Runs) -> int:
        """Bytes of the output in some of its runs, sorted by page: the first and the last page may be cut."""
        if not len(runs):
            return 0
        cut = self.skip if runs.page[0] == 0 else 0
        if runs.end[-1] == self.pages:
            cut += self.pages * self.page_size - self.skip - self.size
        return runs.pages * self.page_size - cut

    @cached_property
    def data_size(self) -> int:
        """Bytes of the output that come from runs."""
        return self.size_of(self.runs)

    @property
    def gap_size(self) -> int:
        """Bytes of the output that come from no run: holes, unless there is `doubt`."""
        return self.size - self.data_size

    def position(self, page: int) -> int:
        """Where a page begins in the output, in bytes; the output may begin or end inside it."""
        return min(max(page * self.page_size - self.skip, 0), self.size)

    def bytes_of(self, page: int, count: int) -> int:
        """Bytes of the output that lie in `count` pages from `page`."""
        return self.position(page + count) - self.position(page)

    def gaps(self) -> Runs:
        """The places that no run fills; their `pfn` means nothing."""
        start = np.concatenate([np.zeros(1, np.uint64), self.runs.end])
        end = np.concatenate([self.runs.page, np.array([self.pages], np.uint64)])
        found = Runs(np.zeros(len(start), np.uint64), start, end - start)
        return found.take(start < end)
