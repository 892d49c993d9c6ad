"""The radix tree of kho-v2, kho-v3 and kho-v4: kho_radix_walk_tree() of kernel/liveupdate/kexec_handover.c.

Read also: the tree as posted before it was merged, under other property names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from khodump.abi.kexec_handover import RadixGeometry, radix_depth
from khodump.columns.arrays import U8, U64
from khodump.memory import PhysicalMemory
from khodump.numbers import format_size
from khodump.tracker import READING_IN_DOUBT, Coverage, Nodes, Trace, Tracker, Walk
from khodump.trackers.coverage import coverage_of
from khodump.trackers.evidence import Readings
from khodump.trackers.shallow import order0_ends
from khodump.trackers.tables import Entries, TableTree


class RadixTracker(Tracker):
    """A preserved-memory radix tree."""

    shape = "radix tree"

    def __init__(self, memory: PhysicalMemory, root: int, geometry: RadixGeometry) -> None:
        self.root = root
        self.page_shift = geometry.page_shift
        self.depth = geometry.depth
        self.leaf_size = geometry.page_size
        self.reading = f"{format_size(geometry.page_size)} pages with depth {geometry.depth}"
        if geometry.order0_end:
            self.reading += (
                f" and single pages up to {format_size(geometry.order0_end << geometry.page_shift)}"
            )
        self.geometry = geometry
        self._tree = TableTree(memory, root, geometry)

    def walk(self) -> Walk:
        """See `Tracker.walk`."""
        walk = Walk()
        if self.demand_root(walk):
            walk.batches = self._tree.walk(walk)
        return walk

    def walk_by_address(self) -> Walk:
        """See `Tracker.walk_by_address`: every order has leaves of its own, in ascending order."""
        walk = Walk()
        if self.demand_root(walk):
            walk.batches = self._tree.walk_by_address(walk)
        return walk

    def leaves(self, walk: Walk) -> Entries:
        """Pointers to the bitmaps, by ascending key prefix; `walk` takes the tables, and findings."""
        return self._tree.descend(walk) if self.demand_root(walk) else Entries.none()

    def bitmaps(self, leaves: Entries, walk: Walk) -> tuple[U64, U8]:
        """See `TableTree.bitmaps`."""
        return self._tree.bitmaps(leaves, walk)

    def holds(self, phys: int, order: int) -> bool | None:
        """See `Tracker.holds`."""
        if phys % (self.geometry.page_size << order):
            return False
        return self._tree.holds(self.geometry.encode(phys, order))

    def trace(self, phys: int, order: int) -> Trace:
        """See `Tracker.trace`."""
        key = self.geometry.encode(phys, order)
        bare = order == 0 and self.geometry.order0_end
        return replace(self._tree.trace(key), marker=None if bare else key.bit_length() - 1)

    def covers(self, nodes: Nodes) -> Coverage:
        """See `Tracker.covers`."""
        return coverage_of(self.geometry, nodes)

    def flaws(self) -> set[str]:
        """See `Tracker.flaws`."""
        walk = Walk()
        leaves = self.leaves(walk)
        rules = {finding.rule for finding in walk.findings}
        return rules if len(leaves) else rules | {READING_IN_DOUBT}


def readings(
    memory: PhysicalMemory,
    root: int,
    release: str,
    page_size: int,
    *,
    counts_marker: Callable[[str], bool | None],
) -> Readings:
    """The trees that may be meant.

    Args:
        memory: where the tree is.
        root: physical address of its root.
        release: of the kernel that made it, if known.
        page_size: bytes.
        counts_marker: the argument that `radix_depth` needs for a release; None where it may be either.
    """
    shift = page_size.bit_length() - 1
    full, shallow = (radix_depth(shift, counts_marker=counts) for counts in (True, False))

    def deep_tree() -> list[RadixTracker]:
        return [RadixTracker(memory, root, RadixGeometry(shift, full))]

    def shallow_trees() -> list[RadixTracker]:
        ends = order0_ends(memory, root, shift, shallow)
        return [RadixTracker(memory, root, RadixGeometry(shift, shallow, end)) for end in ends]

    if shallow == full:
        return Readings(deep_tree())
    counts = counts_marker(release)
    if counts is None:
        return Readings([*deep_tree(), *shallow_trees()])
    return Readings(deep_tree(), shallow_trees) if counts else Readings(shallow_trees(), deep_tree)
