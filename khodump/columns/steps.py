"""Functions of the address that are constant between edges, as columns; and several of them laid over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from khodump.columns.arrays import U64


@dataclass(frozen=True, eq=False)
class Steps:
    """A function of page numbers (or any other unit below 2**58); 0 before the first edge.

    Attributes:
        edge: uint64, ascending; where several are equal, the last counts.
        state: uint64, the value from an edge up to the next.
    """

    edge: U64
    state: U64

    @classmethod
    def of_runs(cls, start: U64, end: U64, state: U64) -> Self:
        """`state` from `start` to `end` (exclusive) of each run, 0 elsewhere; runs are sorted and apart."""
        edge, states = np.empty(2 * len(start), np.uint64), np.zeros(2 * len(start), np.uint64)
        edge[::2], edge[1::2], states[::2] = start, end, state
        return cls(edge, states)

    def marks(self, every: int) -> U64:
        """Addresses between which there are at most `every` edges."""
        return self.edge[::every]

    def between(self, start: int, end: int) -> Steps:
        """The same from `start` to `end`; what it is elsewhere is left open."""
        first = max(int(np.searchsorted(self.edge, np.uint64(start), "right")) - 1, 0)
        stop = int(np.searchsorted(self.edge, np.uint64(end), "left"))
        return Steps(self.edge[first:stop], self.state[first:stop]).clipped(start, end)

    def clipped(self, start: int, end: int) -> Steps:
        """With the edges outside moved to `start` and `end`."""
        return Steps(np.clip(self.edge, np.uint64(start), np.uint64(end)), self.state)


def overlay(layers: Sequence[Steps]) -> tuple[U64, list[U64]]:
    """The edges of all layers, each once and ascending, and the state of every layer from each edge on."""
    bits = np.uint64((len(layers) - 1).bit_length())
    keys = [layer.edge << bits | np.uint64(number) for number, layer in enumerate(layers)]
    merged = np.concatenate(keys)
    merged.sort()
    at = merged >> bits
    last = np.flatnonzero(at[1:] != at[:-1])
    if len(at):
        last = np.append(last, len(at) - 1)
    whose = (merged & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.uint8)
    states = []
    for number, layer in enumerate(layers):
        passed = np.cumsum(whose == number)[last]
        states.append(np.concatenate([np.zeros(1, np.uint64), layer.state])[passed])
    return at[last], states
