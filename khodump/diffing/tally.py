"""How much differs between two maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from khodump.diffing.batch import CHANGES, NO_BLOCK, Batch, Change

_SIZES: Final = NO_BLOCK + 1

#: By position in CHANGES, and log2 of the block size on either side, NO_BLOCK for none.
Counts = Counter[tuple[int, int, int]]


@dataclass(frozen=True)
class Tally:
    """Runs that differ, and their pages, of the smaller of the two page sizes."""

    runs: Counts = field(default_factory=Counter)
    pages: Counts = field(default_factory=Counter)

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> Tally:
        """All of these differences."""
        tally = cls()
        for _ in tally.counted(batches):
            pass
        return tally

    def counted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; what passes is counted."""
        for batch in batches:
            kind = (batch.change.astype(np.int64) * _SIZES + batch.old) * _SIZES + batch.new
            runs = np.bincount(kind)
            pages = np.bincount(kind, batch.end - batch.start)  # as floats, which below 2**53 are exact
            for code in np.flatnonzero(runs).tolist():
                key = (code // _SIZES // _SIZES, code // _SIZES % _SIZES, code % _SIZES)
                self.runs[key] += int(runs[code])
                self.pages[key] += int(pages[code])
            yield batch

    @property
    def differ(self) -> bool:
        """Whether anything surely differs."""
        return any(CHANGES[code] is not Change.UNKNOWN for code, _, _ in self.runs)

    def size(self, change: Change, unit: int) -> int:
        """Bytes of one kind of change, in pages of `1 << unit` bytes."""
        return sum(pages for (code, _, _), pages in self.pages.items() if CHANGES[code] is change) << unit
