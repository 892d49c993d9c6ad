"""A handover of millions of runs in a small image: leaves of which every other bit is set."""

from __future__ import annotations

from tests.builders.handover import BuiltHandover, Description, build_handover

PAGE = 4096
#: Runs that a leaf of every other bit holds.
RUNS_A_LEAF = PAGE * 4


def build_dense(leaves: int, *, spacing: int = 1 << 30) -> BuiltHandover:
    """A radix tree with so many leaves of `RUNS_A_LEAF` order-0 pages, from 4 GiB on and `spacing` bytes apart."""
    firsts = tuple(((4 << 30) + number * spacing, 0) for number in range(leaves))
    built = build_handover(Description(preservations=firsts))
    dense = {built.geometry.encode(*block) >> built.geometry.leaf_bits for block in firsts}
    for (level, prefix), phys in built.tree.nodes.items():
        if level == 0 and prefix in dense:
            built.image.write(phys, b"\x55" * PAGE)
    return built
