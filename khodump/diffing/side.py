"""One of two preserved maps, as functions of the page number.

A page's state is the set of block sizes at which it is preserved, as a mask with a bit for each log2: one bit, or several
where blocks of several orders overlap, as only damage makes them. Orders are compared by the size of their blocks, so that
kernels with different page sizes can be told apart from maps that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from khodump.columns.arrays import U64
from khodump.columns.extents import Extents
from khodump.columns.intervals import Intervals
from khodump.columns.steps import Steps, overlay
from khodump.columns.table import Columns

_ONE = np.uint64(1)


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
        phys = self.extents.phys
        unit = np.uint64(self.unit)
        first = max(int(np.searchsorted(phys, np.uint64(start << self.unit), "right")) - 1, 0)
        stop = int(np.searchsorted(phys, np.uint64((end << self.unit) - 1), "right"))
        part = self.extents.take(slice(first, stop))
        shift = part.block_shift
        low = part.phys >> unit
        high = low + (part.count << (shift - unit))
        return Steps.of_runs(low, high, _ONE << shift).clipped(start, end)


@dataclass(frozen=True, eq=False)
class State(Columns):
    """What one side says of some pieces of memory; see `Side`."""

    blocks: U64
    unknown: U64
    owner: U64


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers of a side: those of its block sizes, then that of what is unknown and that of owners, if there are any."""

    blocks: Sequence[Layer]
    unknown: Steps | None
    owner: Steps | None

    def __iter__(self) -> Iterator[Layer]:
        yield from self.blocks
        yield from (layer for layer in (self.unknown, self.owner) if layer is not None)

    def __len__(self) -> int:
        return len(self.blocks) + sum(layer is not None for layer in (self.unknown, self.owner))

    def together(self, states: Sequence[U64], length: int) -> State:
        """What the states of all layers, in their order, say together of `length` pieces of memory."""
        of_blocks = states[: len(self.blocks)]
        rest = iter(states[len(self.blocks) :])
        blocks: U64 = of_blocks[0] if len(of_blocks) == 1 else np.bitwise_or.reduce(of_blocks)
        unknown = np.zeros(length, np.uint64) if self.unknown is None else next(rest)
        owner = np.zeros(length, np.uint64) if self.owner is None else next(rest)
        return State(blocks, unknown, owner)


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

    def layers(self, unit: int) -> Layers:
        """All that it tells of pages, by numbers that count `1 << unit` bytes."""
        return Layers(self._blocks(unit), self.unknown, self.owner)

    def _blocks(self, unit: int) -> list[Layer]:
        """The masks of its block sizes: in one layer, or one an order where blocks overlap."""
        if self.preserved.is_apart:
            return [_Runs(self.preserved, unit)]
        orders = np.unique(self.preserved.order)
        return [_Runs(self.preserved.take(self.preserved.order == order), unit) for order in orders]


def masks_of(spans: Iterable[tuple[int, Intervals]]) -> Steps:
    """The masks of block sizes that (log2 of a size, pages) pairs make."""
    layers = [
        Steps.of_runs(pages.start, pages.end, np.full(len(pages.start), 1 << shift, np.uint64))
        for shift, pages in spans
    ]
    edge, states = overlay(layers)
    return Steps(edge, np.bitwise_or.reduce(states))
