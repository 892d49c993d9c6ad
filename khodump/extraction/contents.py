"""How much of what is preserved an image holds: dumps leave contents out that a dump tool takes for page cache or zeros."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from khodump.columns.arrays import U64
from khodump.columns.intervals import Intervals
from khodump.handover import Handover
from khodump.luo_sessions import FoundFile, FoundSession
from khodump.memory import PhysicalMemory, Presence
from khodump.numbers import format_size


class Contents(NamedTuple):
    """Bytes of contents: of all, and of those that the image does not hold."""

    size: int
    lost: int

    @property
    def words(self) -> str | None:
        """What is missing, in words; None where nothing is."""
        if not self.lost:
            return None
        return (
            f"{format_size(self.lost)} of the {format_size(self.size)} in their folios are not in the image"
        )


def preserved_contents(handover: Handover) -> Contents:
    """Of all that the map lists."""
    return _held(handover.memory, Intervals.covering(handover.preserved.phys, handover.preserved.end))


def missing_contents(handover: Handover, sessions: Iterable[FoundSession]) -> Iterator[str]:
    """What an image lacks of what the map lists, and of the files of these sessions, each in words."""
    preserved = None if handover.is_map_unknown else preserved_contents(handover)
    if preserved is not None and preserved.lost:
        lost, size = format_size(preserved.lost), format_size(preserved.size)
        yield f"{lost} of the {size} that are preserved are not in the image"
    of_files = contents(handover, sessions).words
    if of_files:
        yield f"of the sessions' files, {of_files}"


def contents(handover: Handover, sessions: Iterable[FoundSession]) -> Contents:
    """Of the folios of these sessions' files, a page each where their orders are not known."""
    none = np.zeros(0, np.uint64)
    parts = [part for session in sessions for file in session.files for part in _folios(file)]
    start = np.concatenate([none, *(first for first, _ in parts)])
    end = np.concatenate([none, *(last for _, last in parts)])
    return _held(handover.memory, Intervals.covering(start, end))


def _folios(file: FoundFile) -> Iterator[tuple[U64, U64]]:
    """Start and end of the blocks of a file, in batches."""
    state = file.file.state
    for batch in state.folios() if state else ():
        yield batch.phys, batch.phys + file.orders.block_sizes_at(batch.phys)


def _held(memory: PhysicalMemory, wanted: Intervals) -> Contents:
    present = [(span.start, span.end) for span in memory.ranges if span.presence is Presence.PRESENT]
    edges = np.array(present, np.uint64).reshape(-1, 2)
    lost = wanted.minus(Intervals.covering(edges[:, 0], edges[:, 1]))
    return Contents(wanted.size, lost.size)
