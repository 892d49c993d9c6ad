"""The contract of a preserved-memory tracker: the pages in which a kernel wrote down which pages to keep.

One file per tracker lives in `khodump.trackers`; the root FDT decides which one reads a handover.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from khodump.arrays import U8, U64, Bool
from khodump.extents import Extents
from khodump.findings import Finding
from khodump.memory import Presence


@dataclass(frozen=True, eq=False)
class Nodes:
    """The tracker's own pages, as columns, in the order they were met.

    Attributes:
        phys: uint64, physical byte address.
        level: uint8; 0 is a leaf.
        prefix: uint64, the bits that all keys below the node share.
        presence: uint8 `Presence`; only PRESENT nodes were walked.
        empty: bool, walked and all zero.
    """

    phys: U64
    level: U8
    prefix: U64
    presence: U8
    empty: Bool

    @classmethod
    def concatenate(cls, parts: list[Nodes]) -> Nodes:
        """All nodes of all parts."""
        if not parts:
            none = np.zeros(0, np.uint8)
            return cls(none.astype(np.uint64), none, none.astype(np.uint64), none, none.astype(np.bool_))
        columns = ("phys", "level", "prefix", "presence", "empty")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))

    def __len__(self) -> int:
        return len(self.phys)

    @property
    def leaves(self) -> int:
        """How many are leaves."""
        return int((self.level == 0).sum())

    @property
    def empties(self) -> int:
        """How many hold nothing; unpreserving leaves such nodes behind."""
        return int(self.empty.sum())

    def missing(self) -> dict[Presence, int]:
        """How many could not be read, by reason."""
        kinds, counts = np.unique(self.presence[self.presence != Presence.PRESENT], return_counts=True)
        return {Presence(kind): count for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)}


@dataclass
class Walk:
    """One walk over a tracker's pages, batch by batch.

    Iterating gives the preservations in the kernel's own walk order. `nodes` and `findings` grow as it goes and are
    complete once it has ended.
    """

    batches: Iterator[Extents] = field(default_factory=lambda: iter(()))
    findings: list[Finding] = field(default_factory=list)
    node_parts: list[Nodes] = field(default_factory=list)

    def __iter__(self) -> Iterator[Extents]:
        return self.batches

    @property
    def nodes(self) -> Nodes:
        """The tracker's own pages met so far."""
        return Nodes.concatenate(self.node_parts)


class Tracker(ABC):
    """A preserved-memory map in some memory.

    Attributes:
        page_shift: log2 of the page size in bytes.
        root: physical address of the map's first page.
        depth: levels of its pages, the lowest included; None for a map that is no tree.
        shape: its kind, for a person.
    """

    page_shift: int
    root: int
    depth: int | None
    shape: str

    @abstractmethod
    def walk(self) -> Walk:
        """Begin a walk. Bad data gives findings, never exceptions."""

    @abstractmethod
    def holds(self, phys: int, order: int) -> bool | None:
        """Whether the map holds this very (phys, order); None when the pages that say so cannot be read."""
