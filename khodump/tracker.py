"""The contract of a preserved-memory tracker: the pages in which a kernel wrote down which pages to keep.

One file per tracker lives in `khodump.trackers`; the root FDT decides which one reads a handover.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from khodump.advice import Sentence
from khodump.columns.arrays import I64, U8, U64, Bool
from khodump.columns.extents import NO_ORDER, Extents
from khodump.columns.table import Columns
from khodump.findings import Entry, Finding
from khodump.memory import PhysicalMemory, Presence
from khodump.owner import KHO, Owner
from khodump.problems import MapNodeUnreadable, MapPointerOutsideMemory, MapRootMissing, ReadingInDoubt

#: The slot of a node that no other points to.
NO_SLOT: Final = -1

#: Whose the preserved-memory map is. Trackers are the only decoders that name no owner.
MAP_OWNER: Final = Owner(KHO, part="map")
#: The rule of a map that begins nowhere.
NO_ROOT: Final = "map-root-missing"
#: The rule of a map that may not be one.
READING_IN_DOUBT: Final = ReadingInDoubt.name
#: The rule of a page of the map that the image does not hold.
UNREADABLE_NODE: Final = "map-node-unreadable"

_POINTER_SIZE: Final = 8


@dataclass(frozen=True, eq=False)
class Nodes(Columns):
    """The tracker's own pages, as columns, in the order they were met.

    Attributes:
        phys: uint64, physical byte address.
        level: uint8; 0 is a leaf.
        prefix: uint64, the bits that all keys below the node share.
        presence: uint8 `Presence`; only PRESENT nodes were walked.
        empty: bool, walked and all zero.
        order: uint8, of the blocks of a leaf; NO_ORDER for upper nodes and leaves of several orders.
        parent: uint64, physical address of the node that points to it; 0 where the root FDT or the chain does.
        slot: int64, number of that pointer in its parent, or of a chunk in the chain; NO_SLOT for the root.
    """

    phys: U64
    level: U8
    prefix: U64
    presence: U8
    empty: Bool
    order: U8
    parent: U64
    slot: I64

    @classmethod
    def single(cls, phys: int, level: int, presence: Presence, *, empty: bool, slot: int = NO_SLOT) -> Nodes:
        """One node without a parent, whose keys share no bits."""
        return cls(
            np.array([phys], np.uint64),
            np.array([level], np.uint8),
            np.zeros(1, np.uint64),
            np.array([presence], np.uint8),
            np.array([empty], np.bool_),
            np.array([NO_ORDER], np.uint8),
            np.zeros(1, np.uint64),
            np.array([slot], np.int64),
        )

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
        counts = np.bincount(self.presence, minlength=len(Presence)).tolist()
        return {kind: counts[kind] for kind in Presence if kind != Presence.PRESENT and counts[kind]}


@dataclass(frozen=True, eq=False)
class Coverage(Columns):
    """What nodes can tell of, as columns: a row for each node and order that it has room for, nodes ascending.

    Attributes:
        node: int64, row of the nodes.
        order: uint8.
        start: uint64, physical address of the first block.
        end: uint64, the first byte after the last.
    """

    node: I64
    order: U8
    start: U64
    end: U64

    def sorted(self) -> Coverage:
        """By node, then by order."""
        return self.take(np.lexsort((self.order, self.node)))


def slot_words(table: int, slot: int) -> str:
    """A slot of an upper page, for a person."""
    return f"slot {slot} of the table at {table:#x}"


def node_problem(memory: PhysicalMemory, phys: int, presence: Presence, what: str, **where: int) -> Finding:
    """The finding for a page of a tracker that the image does not hold.

    Args:
        memory: the image.
        phys: physical address of the page.
        presence: why it is missing.
        what: the page, for a person: "the leaf at 0x1000 (level 0)".
        where: what led to it.
    """
    is_outside = presence is Presence.ABSENT and memory.end_below(phys) is not None
    kind = MapPointerOutsideMemory if is_outside else MapNodeUnreadable
    message = f"{what} is {memory.hole_at(phys, presence)}"
    return kind(value=phys, **where).finding(phys, message)


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


def watched(walk: Walk, progress: Callable[[int, int], None] | None) -> Walk:
    """The same walk, which calls `progress` with (pages met, 0) after each batch, and with (pages, pages) at its end."""
    if progress is not None:
        walk.batches = _told(walk, walk.batches, progress)
    return walk


def _told(walk: Walk, batches: Iterator[Extents], progress: Callable[[int, int], None]) -> Iterator[Extents]:
    met = counted = 0
    for batch in batches:
        met += sum(map(len, walk.node_parts[counted:]))
        counted = len(walk.node_parts)
        progress(met, 0)
        yield batch
    progress(met, met)


@dataclass(frozen=True, slots=True)
class TraceNode:
    """A page of the map on the way to a bit: its physical address, its level (0 is a leaf), and the slot taken there.

    The slot counts the entries of a table or a chunk, and the bits of a leaf.
    """

    phys: int
    level: int
    slot: int


@dataclass(frozen=True)
class Trace:
    """The way down the map to the bit that stands for a block.

    Attributes:
        nodes: from the map's first page, as far as they can be followed; of a chain, only the chunk that counts.
        bit: of the leaf.
        is_set: whether the bit is set; None when the pages that say so cannot be read or make no sense.
        key: of the block, as the map keeps it; None for a map without keys.
        marker: the bit of the key that tells its order; None for keys that do not.
    """

    nodes: tuple[TraceNode, ...]
    bit: int
    is_set: bool | None
    key: int | None = None
    marker: int | None = None


class Tracker(ABC):
    """A preserved-memory map in some memory.

    Attributes:
        page_shift: log2 of the page size in bytes.
        root: physical address of the map's first page.
        depth: levels of its pages, the lowest included; None for a map that is no tree.
        leaf_size: bytes of its lowest pages, the bitmaps.
        shape: its kind, for a person.
        reading: what this reading of it takes for granted, for a person.
        doubt: what about this reading is a guess, if anything.
    """

    page_shift: int
    root: int
    depth: int | None
    leaf_size: int
    shape: str
    reading: str
    doubt: Sentence | None = None

    @abstractmethod
    def walk(self) -> Walk:
        """Begin a walk. Bad data gives findings, never exceptions."""

    def walk_by_address(self) -> Walk:
        """As `walk`, but by ascending address, the lower order first, and with no run cut between batches.

        Memory is bounded where the map's kind and state allow; otherwise it all comes in one batch.
        """
        walk = self.walk()
        return Walk(self._held(walk), walk.findings, walk.node_parts)

    def _held(self, walk: Walk) -> Iterator[Extents]:
        yield Extents.concatenate(self.page_shift, walk).sorted()

    @abstractmethod
    def holds(self, phys: int, order: int) -> bool | None:
        """Whether the map holds this very (phys, order); None when the pages that say so cannot be read."""

    @abstractmethod
    def trace(self, phys: int, order: int) -> Trace:
        """The way to the bit of the block of `page_size << order` bytes at `phys`, which is aligned to that."""

    def slot_entry(self, table: int, slot: int) -> Entry:
        """Where a pointer of an upper page stands."""
        return Entry(slot_words(table, slot), table + _POINTER_SIZE * slot)

    def covers(self, nodes: Nodes) -> Coverage:  # noqa: ARG002 - for those that can tell
        """The blocks that the nodes of a walk stand for, preserved or not; nothing where the nodes do not tell."""
        return Coverage.none()

    @abstractmethod
    def flaws(self) -> set[str]:
        """The rules of what is wrong with its upper pages, by a quick look, no full walk; a doubt where they lead nowhere."""

    def sound(self) -> bool:
        """Whether its upper pages can be read and hold nothing that no kernel writes, by the same quick look."""
        return not self.flaws()

    def demand_root(self, walk: Walk) -> bool:
        """Whether there is a root to start from; a finding if not."""
        if not self.root:
            message = "the map's root pointer is 0: nothing was handed over, or the map was not finished"
            walk.findings.append(MapRootMissing(value=0).finding(None, message))
        return bool(self.root)
