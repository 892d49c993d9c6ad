"""What a search of an image covered and what it could not, so that "not found" never means "not looked".

Holes of sparse files, and blocks that a format knows to be zero, count as searched: nothing can be found in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from khodump.abi.kexec_handover import COMPATIBLE_PREFIX
from khodump.advice import FDT, RANGES, Advice, Sentence
from khodump.columns.arrays import U8, U64
from khodump.errors import NoHandoverError
from khodump.memory import PhysicalMemory, Presence, Range
from khodump.numbers import format_size

_FILE: Final = Advice.of("pass ", FDT.taking("FILE"), " if you have the root FDT")


class Reason(Enum):
    """Why bytes were not searched, as the end of a sentence about them."""

    CUT_OFF = "cut off: the file ends, or its writer stopped, before them"
    EXCLUDED = "excluded: left out of the dump on purpose"
    DAMAGED = "damaged: what is stored of them could not be decoded"
    UNNAMED = "in parts of the split dump that were not named"
    UNPLACED = "in doubt: nothing proves where in the raw file they are"
    UNREADABLE = "not to be read, though the image speaks of them"

    @property
    def advice(self) -> Sentence:
        """What to do next."""
        return _NEXT[self]


_REASONS: Final = {
    Presence.TRUNCATED: Reason.CUT_OFF,
    Presence.EXCLUDED: Reason.EXCLUDED,
    Presence.DAMAGED: Reason.DAMAGED,
    Presence.UNPLACED: Reason.UNPLACED,
    Presence.ABSENT: Reason.UNREADABLE,
}
_NEXT: Final[Mapping[Reason, Sentence]] = {
    Reason.CUT_OFF: "copy the dump again, or take another, whole: the root FDT may be in what is cut off",
    Reason.EXCLUDED: "take a dump that leaves nothing out (makedumpfile -d 0)",
    Reason.DAMAGED: "copy the dump again and compare checksums: the root FDT may be in what is damaged",
    Reason.UNNAMED: "name all parts of the split dump",
    Reason.UNPLACED: Advice.of("say where the file belongs: FILE@BASE, or ", RANGES),
    Reason.UNREADABLE: "take a dump of the machine, and search that",
}


class Lack(NamedTuple):
    """Bytes that were not searched, all for one reason.

    Attributes:
        reason: why.
        size: how many bytes.
        start: physical address of the lowest.
    """

    reason: Reason
    size: int
    start: int


class Misses:
    """What a search meets that it cannot read, noted while it goes on: page by page, but kept by reason alone."""

    def __init__(self) -> None:
        self._lacks: dict[Reason, Lack] = {}

    def add(self, start: U64, presence: U8, page_size: int, end: int) -> None:
        """Note the pages at the physical addresses `start` that are not PRESENT; only what of them is below `end`."""
        for kind in np.unique(presence[presence != Presence.PRESENT]).tolist():
            those = start[presence == kind]
            size = int(np.minimum(np.uint64(end) - those, np.uint64(page_size)).sum())
            lack = Lack(_REASONS[Presence(kind)], size, int(those.min()))
            self._lacks = _joined([*self.lacks, lack])

    @property
    def lacks(self) -> tuple[Lack, ...]:
        """One a reason."""
        return tuple(self._lacks.values())


@dataclass(frozen=True)
class Searched:
    """What a search of a whole image covered.

    Attributes:
        memory: the image, which must be open for what follows to be asked.
        missed: what the search could not read of what the image seemed to hold.
    """

    memory: PhysicalMemory
    missed: tuple[Lack, ...] = ()

    @cached_property
    def lacks(self) -> tuple[Lack, ...]:
        """What was not searched, one a reason, the largest first."""
        elsewhere = [_lack(span, Reason.UNNAMED) for span in self.memory.elsewhere()]
        lacks = _joined([*self._within, *elsewhere]).values()
        return tuple(sorted(lacks, key=lambda lack: lack.size, reverse=True))

    @cached_property
    def size(self) -> int:
        """How many bytes were searched."""
        spoken_of = sum(span.end - span.start for span in self.memory.ranges)
        return spoken_of - sum(lack.size for lack in self._within)

    @cached_property
    def total(self) -> int:
        """How many bytes the image should hold."""
        return self.size + sum(lack.size for lack in self.lacks)

    @cached_property
    def is_whole(self) -> bool:
        """Whether all was searched that the image should hold, and nothing is wrong with the image as a whole."""
        return bool(self.size) and not self.lacks and not self.memory.warnings

    @cached_property
    def _within(self) -> list[Lack]:
        declared = [_lack(span, _REASONS[span.presence]) for span in self.memory.lacking()]
        return [*_joined([*declared, *self.missed]).values()]

    def __str__(self) -> str:
        """One or two plain sentences."""
        if not self.total:
            return "nothing in the image can be searched: it speaks of no memory"
        if self.is_whole:
            return f"all {format_size(self.size)} of it were searched"
        if not self.lacks:
            return f"{format_size(self.size)} were searched, but the image is not whole, and does not tell what lacks"
        lacks = "; ".join(self._told(lack) for lack in self.lacks)
        if not self.size:
            return f"nothing in the image can be searched. Not searched: {lacks}"
        share = f"{format_size(self.size)} of {format_size(self.total)}"
        return f"only {share} could be searched. Not searched: {lacks}"

    def _told(self, lack: Lack) -> str:
        share = 100 * lack.size / self.total
        if lack.size < self.total:
            share = min(share, 99.9)
        shown = f"{share:.1f}%" if share >= 0.1 else "less than 0.1%"
        return f"{format_size(lack.size)} ({shown}), the lowest at {lack.start:#x}, {lack.reason.value}"

    @property
    def advice(self) -> Advice:
        """What to do next."""
        if self.lacks:
            return Advice.of(self.lacks[0].reason.advice, "; or ", _FILE)
        if self.is_whole:
            unused = "the kernel may not have used KHO, or its FDT page is not in the dump: pass "
            return Advice.of(unused, FDT.taking("FILE"), " if you have it")
        return Advice.of("copy the dump again, or take another, whole; or ", _FILE)


def nothing_found(searched: Searched) -> NoHandoverError:
    """The error of a search that found no root FDT; that KHO was not used is said only when nothing lacks."""
    if not searched.size:
        return NoHandoverError(f"no root FDT: {searched}", hint=searched.advice)
    if not searched.is_whole:
        return NoHandoverError(f"no root FDT found: {searched}", hint=searched.advice)
    return NoHandoverError(
        f"no root FDT in the image: no page begins with an FDT that says {COMPATIBLE_PREFIX}…; {searched}",
        hint=searched.advice,
    )


def _lack(span: Range, reason: Reason) -> Lack:
    return Lack(reason, span.end - span.start, span.start)


def _joined(lacks: Iterable[Lack]) -> dict[Reason, Lack]:
    """One a reason."""
    by_reason: dict[Reason, list[Lack]] = defaultdict(list)
    for lack in lacks:
        by_reason[lack.reason].append(lack)
    return {
        reason: Lack(reason, sum(lack.size for lack in alike), min(lack.start for lack in alike))
        for reason, alike in by_reason.items()
    }
