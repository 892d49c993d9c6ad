"""The map's pages as a tree, held against the way that a trace takes to every preserved block."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import khodump
from khodump.handover import Handover
from khodump.tables.nodetree import NO_PARENT, NodeTree, node_tree
from khodump.tracker import NO_SLOT
from tests.builders.handover import MapFormat, build_handover
from tests.captures import CAPTURES, HISTORIC
from tests.cli.test_every_format import SET
from tests.cli.test_inspect import GEOMETRIES

EVERY = {**CAPTURES, **HISTORIC}


def check(handover: Handover) -> NodeTree:
    """Every block is counted in the leaf that holds it, and in all above; parents, slots and coverage agree."""
    tree = node_tree(handover)
    nodes = tree.nodes
    row = {phys: at for at, phys in enumerate(nodes.phys.tolist())}
    assert len(row) == len(tree) == len(handover.nodes)
    below: Counter[int] = Counter()
    for block in handover.preserved:
        trace = handover.tracker.trace(*block)
        for upper, lower in zip(trace.nodes, trace.nodes[1:], strict=False):
            assert tree.parent[row[lower.phys]] == row[upper.phys]
            assert nodes.slot[row[lower.phys]] == upper.slot
        for node in trace.nodes:
            below[row[node.phys]] += 1
        for at in (block.phys, block.phys + (handover.page_size << block.order) - 1):
            assert tree.standing_for(at)[row[trace.nodes[-1].phys]]
    assert tree.preservations.tolist() == [below[at] for at in range(len(tree))]
    check_shape(tree)
    return tree


def check_shape(tree: NodeTree) -> None:
    """Parents before children, siblings by slot, and what a node stands for within what its parent does."""
    count = Counter(tree.parent.tolist())
    assert tree.children.tolist() == [count[at] for at in range(len(tree))]
    last: dict[int, int] = {}
    way: list[int] = []
    for at, (parent, depth) in enumerate(zip(tree.parent.tolist(), tree.depth.tolist(), strict=True)):
        way = way[:depth]
        assert parent == (way[-1] if way else NO_PARENT)
        way.append(at)
        slot = int(tree.nodes.slot[at])
        assert slot > last.get(parent, NO_SLOT - 1)
        last[parent] = slot
        if parent != NO_PARENT and tree.start[at] <= tree.end[at]:
            assert tree.low[parent] <= tree.low[at] <= tree.high[at] <= tree.high[parent]
            assert tree.start[parent] <= tree.start[at] < tree.end[at] <= tree.end[parent]


@pytest.mark.parametrize("name", EVERY)
def test_the_tree_of_a_capture(name):
    with khodump.open(EVERY[name].path, version="kho-v4" if name.startswith("fail") else None) as handover:
        tree = check(handover)
        assert int(tree.preservations[tree.parent == NO_PARENT].sum()) == len(EVERY[name].blocks())
        assert EVERY[name].nodes() in (set(), set(tree.nodes.phys.tolist()))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_tree_of_every_map_format(tmp_path, name):
    built = build_handover(replace(GEOMETRIES[name], preservations=tuple(SET), empties=((0x9_0000_0000, 0),)))
    with khodump.open(built.image.to_raw(tmp_path / "raw")) as handover:
        tree = check(handover)
        assert set(tree.nodes.phys.tolist()) == set(built.map_nodes)
        assert int(tree.nodes.empty.sum()) == 1
        if GEOMETRIES[name].map_format in (MapFormat.RADIX, MapFormat.POSTED_RADIX):
            known = {phys: key for key, phys in built.tree.nodes.items()}
            columns = zip(
                tree.nodes.phys.tolist(), tree.nodes.level.tolist(), tree.nodes.prefix.tolist(), strict=True
            )
            assert all(known[phys] == (level, prefix) for phys, level, prefix in columns)


def test_what_no_leaf_stands_for_has_no_way_to_it():
    with khodump.open(EVERY["v1a"].path) as handover:
        tree = node_tree(handover)
        assert not tree.standing_for(1 << 60).any()
        assert not tree.above(np.zeros(len(tree), np.bool_)).any()
