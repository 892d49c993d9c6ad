"""One of two preserved maps, as functions of the page number.

A page's state is the set of block sizes at which it is preserved, as a mask with a bit for each log2: one bit, or several
where blocks of several orders overlap, as only damage makes them. Orders are compared by the size of their blocks, so that
kernels with different page sizes can be told apart from maps that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from khodump.columns.arrays import U64
from khodump.columns.extents import Extents
from khodump.columns.intervals import Intervals
from khodump.columns.steps import Steps, overlay

_ONE = np.uint64(1)
_CHECKED: Final = 1 << 20


class Layer(Protocol):
    """Steps that may be too many to hold at once."""

    def marks(self, every: int) -> U64:
        """See `Steps.marks`."""

    def between(self, start: int, end: int) -> Steps:
        """See `Steps.between`."""


@dataclass(frozen=True, eq=False)
class _Runs:
    """The block sizes of runs that are sorted and apart, by page number."""

    extents: Extents
    unit: int

    def marks(self, every: int) -> U64:
        return self.extents.phys[::every] >> np.uint64(self.unit)

    def between(self, start: int, end: int) -> Steps:
        phys, unit = self.extents.phys, np.uint64(self.unit)
        first = max(int(np.searchsorted(phys, np.uint64(start << self.unit), "right")) - 1, 0)
        stop = int(np.searchsorted(phys, np.uint64((end << self.unit) - 1), "right"))
        part = self.extents.take(slice(first, stop))
        shift, low = part.block_shift, part.phys >> unit
        return Steps.of_runs(low, low + (part.count << (shift - unit)), _ONE << shift).clipped(start, end)


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two maps.

    Attributes:
        preserved: its runs, sorted by address; they may overlap.
        unknown: masks of the block sizes at which nobody can tell whether a page is preserved; by page number, in the
            smaller page size of the two sides.
        owner: row of the owners' names plus 1; by page number, too.
    """

    preserved: Extents
    unknown: Steps | None = None
    owner: Steps | None = None

    def layers(self, unit: int) -> tuple[Sequence[Layer], ...]:
        """Layers of its block sizes, of what is unknown, and of owners."""
        unknown, owner = ([layer] if layer is not None else [] for layer in (self.unknown, self.owner))
        return self._blocks(unit), unknown, owner

    def _blocks(self, unit: int) -> list[Layer]:
        """The masks of its block sizes: in one layer, or one an order where blocks overlap."""
        if _apart(self.preserved):
            return [_Runs(self.preserved, unit)]
        orders = np.unique(self.preserved.order)
        return [_Runs(self.preserved.take(self.preserved.order == order), unit) for order in orders]


def _apart(extents: Extents) -> bool:
    """Whether no two of these runs, sorted by address, overlap."""
    parts = (extents.take(slice(at, at + _CHECKED + 1)) for at in range(0, extents.runs, _CHECKED))
    return all(bool((part.end[:-1] <= part.phys[1:]).all()) for part in parts)


def masks_of(spans: Iterable[tuple[int, Intervals]]) -> Steps:
    """The masks of block sizes that (log2 of a size, pages) pairs make."""
    layers = [
        Steps.of_runs(pages.start, pages.end, np.full(len(pages.start), 1 << shift, np.uint64))
        for shift, pages in spans
    ]
    edge, states = overlay(layers)
    return Steps(edge, np.bitwise_or.reduce(states))
