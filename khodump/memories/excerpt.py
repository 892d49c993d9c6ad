"""A memory that shows some bytes of another: what a core holds that was cut out of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from khodump.columns.arrays import U64, Bool
from khodump.columns.intervals import Intervals, meet
from khodump.memory import Hole, Pages, PhysicalMemory, Platform, Presence, Range


class Excerpt(PhysicalMemory):
    """Some pages of a memory, and of these some bytes; the others are zeros.

    Args:
        whole: another memory. Closing the excerpt does not close it.
        pages: what is shown, zeros included.
        kept: the bytes that are shown as they are.
        left_out: memory that the machine had, and that is not shown.
        platform: what is said of the machine.
    """

    def __init__(
        self,
        whole: PhysicalMemory,
        pages: Intervals,
        kept: Intervals,
        left_out: Intervals,
        platform: Platform,
    ) -> None:
        self.description = f"excerpt of {whole.description}"
        self.platform = platform
        self.whole = whole
        self.kept = kept
        self.left_out = left_out
        self._pages = pages

    def telling(self, platform: Platform) -> Excerpt:
        """The same memory of what is said to be another machine."""
        return Excerpt(self.whole, self._pages, self.kept, self.left_out, platform)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """See `PhysicalMemory.ranges`."""
        present = _ranges(self._pages, Presence.PRESENT)
        excluded = _ranges(self.left_out, Presence.EXCLUDED)
        return tuple(sorted([*present, *excluded]))

    @property
    def end(self) -> int:
        """See `PhysicalMemory.end`."""
        return max([int(part.end[-1]) for part in (self._pages, self.left_out) if len(part.end)], default=0)

    def read(self, phys: int, size: int) -> bytes | Hole:
        """See `PhysicalMemory.read`."""
        missing = self._first_missing(phys, size)
        if missing is not None:
            return Hole(missing, self._why(missing))
        data = bytearray(size)
        low, high = (np.array([at], np.uint64) for at in (phys, phys + size))
        starts, ends, _, _ = meet(low, high, self.kept.start, self.kept.end)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            part = self.whole.read(start, end - start)
            if isinstance(part, Hole):
                return part
            data[start - phys : end - phys] = part
        return bytes(data)

    def gather(self, addresses: U64, size: int) -> Pages:
        """See `PhysicalMemory.gather`."""
        ends = addresses + np.uint64(size)
        whole = self.whole.gather(addresses, size)
        shown = _within(self._pages, addresses, ends)
        presence = whole.presence.copy()
        presence[~shown] = [self._why(phys) for phys in addresses[~shown].tolist()]
        low, high, row, _ = meet(addresses, ends, self.kept.start, self.kept.end)
        data = np.zeros_like(whole.data)
        first, last = low - addresses[row], high - addresses[row]
        for start, end, at in zip(first.tolist(), last.tolist(), row.tolist(), strict=True):
            data[at, start:end] = whole.data[at, start:end]
        return Pages(data, presence)

    def populated(self) -> Iterator[Range]:
        """See `PhysicalMemory.populated`."""
        return iter(_ranges(self._pages, Presence.PRESENT))

    def close(self) -> None:
        """See `PhysicalMemory.close`: the whole stays open."""

    def _first_missing(self, phys: int, size: int) -> int | None:
        """The first of these bytes that is not shown."""
        row = int(np.searchsorted(self._pages.start, np.uint64(phys), "right")) - 1
        reach = int(self._pages.end[row]) if row >= 0 else 0
        if reach >= phys + size:
            return None
        return max(phys, reach)

    def _why(self, phys: int) -> Presence:
        row = int(np.searchsorted(self.left_out.start, np.uint64(phys), "right")) - 1
        is_left_out = row >= 0 and phys < int(self.left_out.end[row])
        return Presence.EXCLUDED if is_left_out else Presence.ABSENT


def _ranges(part: Intervals, presence: Presence) -> list[Range]:
    edges = zip(part.start.tolist(), part.end.tolist(), strict=True)
    return [Range(start, end, presence) for start, end in edges]


def _within(held: Intervals, start: U64, end: U64) -> Bool:
    """Which of these spans lie wholly in one interval."""
    row = np.searchsorted(held.start, start, "right") - 1
    inside: Bool = row >= 0
    inside[inside] = end[inside] <= held.end[row[inside]]
    return inside
