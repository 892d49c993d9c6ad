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
from khodump.findings import Finding, Severity
from khodump.memory import PhysicalMemory, Presence


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

    @classmethod
    def single(cls, phys: int, level: int, presence: Presence, *, empty: bool) -> Nodes:
        """One node, whose keys share no bits."""
        return cls(
            np.array([phys], np.uint64),
            np.array([level], np.uint8),
            np.zeros(1, np.uint64),
            np.array([presence], np.uint8),
            np.array([empty], np.bool_),
        )

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


def node_problem(memory: PhysicalMemory, phys: int, presence: Presence, what: str, **where: int) -> Finding:
    """The finding for a page of a tracker that the image does not hold.

    Args:
        memory: the image.
        phys: physical address of the page.
        presence: why it is missing.
        what: the page, for a person: "the leaf at 0x1000 (level 0)".
        where: what led to it.
    """
    rule = "map-pointer-outside-memory" if phys >= memory.end else "map-node-unreadable"
    message = f"{what} is {memory.hole_at(phys, presence)}"
    return Finding(rule, Severity.ERROR, phys, message, {**where, "value": phys})


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
        reading: what this reading of it takes for granted, for a person.
        doubt: what about this reading is a guess, if anything.
    """

    page_shift: int
    root: int
    depth: int | None
    shape: str
    reading: str
    doubt: str | None = None

    @abstractmethod
    def walk(self) -> Walk:
        """Begin a walk. Bad data gives findings, never exceptions."""

    @abstractmethod
    def holds(self, phys: int, order: int) -> bool | None:
        """Whether the map holds this very (phys, order); None when the pages that say so cannot be read."""

    @abstractmethod
    def sound(self) -> bool:
        """Whether its upper pages can be read and hold nothing that no kernel writes: a quick look, no full walk."""

    def demand_root(self, walk: Walk) -> bool:
        """Whether there is a root to start from; a finding if not."""
        if not self.root:
            message = "the map's root pointer is 0: nothing was handed over, or the map was not finished"
            walk.findings.append(Finding("map-root-missing", Severity.ERROR, None, message, {"value": 0}))
        return bool(self.root)
