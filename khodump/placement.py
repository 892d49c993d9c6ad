"""Where the bytes of a raw file belong: a decision, what it rests on, and how much of the file it vouches for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

from khodump.advice import RANGES, Advice
from khodump.layouts import SMALLEST_HOLE, Layout, joined

#: Banks of RAM, and what is cut out between them, begin and end at multiples of this.
_BANK_STEP: Final = 16 << 20
_PAGE: Final = 4096


class Basis(Enum):
    """What a placement rests on."""

    GIVEN = "it was given on the command line"
    RANGES = "the ranges that were given add up to the file"
    TOLD = "what the machine was told of its RAM, found in the image, adds up to the file"
    GUESSED = "it is a usual layout, or was worked out from the map"


@dataclass(frozen=True)
class Placement:
    """Where the bytes of a raw file belong.

    Attributes:
        layout: which bytes of the file are which physical memory.
        basis: what it rests on.
        evidence: what supports it, one clause each.
        contradictions: what speaks against it, one clause each.
        certain: physical (start, end) of what may be read; None for all of the layout. A guess is proved between
            places that prove themselves, and no further.
        is_forced: whether the user said to read it so, whatever the evidence.
    """

    layout: Layout
    basis: Basis
    evidence: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    certain: tuple[tuple[int, int], ...] | None = None
    is_forced: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether file offsets are physical addresses."""
        return all(stretch.delta == 0 for stretch in self.layout.stretches)

    @property
    def remedy(self) -> Advice:
        """How to settle it, as a sentence."""
        return Advice.of(
            "FILE@BASE, or ", RANGES, " with the machine's /proc/iomem, settles where a raw file belongs"
        )


def certain_ranges(
    layout: Layout, anchors: Iterable[int], *, is_contradicted: bool
) -> tuple[tuple[int, int], ...]:
    """The physical ranges whose place in the file is proved by anchors, for a layout that is a guess.

    Where banks are laid end to end, what has to be added to an offset to give an address only ever grows. So between two
    anchors of the same delta there is no other, and none begins between an anchor and the next multiple of 16 MiB in
    the file. With delta 0 at an anchor it is 0 below it as well. No usual machine has a hole below 2 GiB, so that all
    below is certain, too, unless something contradicts the layout.

    Example: anchors at 0x1000 and 0x4000_0000, both of delta 0, in a file of 5 GiB: 0 to 2 GiB is certain; what is behind
    may have moved up by the size of some hole.

    Args:
        layout: the guess.
        anchors: physical addresses of pages that prove to be where the layout puts them.
        is_contradicted: whether anything speaks against the layout.
    """
    proved: list[tuple[int, int]] = []
    known = sorted({anchor for anchor in anchors if layout.delta_at(anchor) is not None})
    for anchor in known:
        delta = layout.delta_at(anchor) or 0
        offset = anchor - delta
        bank = offset // _BANK_STEP * _BANK_STEP
        proved.append((bank + delta, bank + delta + _BANK_STEP))
        if delta == 0:
            proved.append((0, anchor + _PAGE))
            if not is_contradicted:
                proved.append((0, SMALLEST_HOLE))
    for low, high in pairwise(known):
        if layout.delta_at(low) == layout.delta_at(high):
            proved.append((low, high + _PAGE))
    return tuple(_within(layout, joined(sorted(proved))))


def _within(layout: Layout, spans: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """The parts of the spans that the layout has memory for."""
    for start, end in spans:
        for stretch in layout.stretches:
            low = max(start, stretch.phys)
            high = min(end, stretch.end)
            if low < high:
                yield low, high
