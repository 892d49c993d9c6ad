"""What the benchmark writes is what it says; how fast anything is, no test asserts."""

from __future__ import annotations

import numpy as np

import khodump
from benchmarks import memfds, trees
from khodump.trackers.radix import RadixTracker
from tests import oracle
from tests.transcript import run


def test_trees_hold_their_leaves(tmp_path):
    blocks = {0: [0, 0x5000, 0x7FFF000, 0x8000000], 9: [0x200000, 0x40000000], 18: [1 << 30, 3 << 30]}
    leaves = trees.leaves_of({order: np.array(phys, np.uint64) for order, phys in blocks.items()})
    tree = trees.write_tree(tmp_path / "image", leaves, size=64 << 20)
    with khodump.open(f"{tree.path}@0", fdt=trees.FDT) as handover:
        assert handover.tracker.root == tree.root
        walked = oracle.walk(handover.memory, tree.root, 4096, 6)
        found = set(handover.preserved)
    expected = {(phys, order) for order, each in blocks.items() for phys in each} | {(trees.FDT, 0)}
    assert set(walked.blocks) == found == expected


def test_thin_leaves_are_about_as_thin_as_asked(tmp_path):
    words = trees._thinned(np.random.default_rng(1), 4, 0.01)
    assert 0.008 < np.bitwise_count(words).sum() / words.size / 64 < 0.01
    tree = trees.write_tree(tmp_path / "image", {0: words})
    with khodump.open(f"{tree.path}@0", fdt=trees.FDT) as handover:
        walked = oracle.walk(handover.memory, tree.root, 4096, 6)
        assert isinstance(handover.tracker, RadixTracker)
        assert list(handover.preserved) == sorted(walked.blocks)


def test_a_memfd_is_where_its_list_says(tmp_path):
    data = np.random.default_rng(2).bytes(64 << 12)
    (tmp_path / "file").write_bytes(data)
    for scattered in (False, True):
        image, out = tmp_path / f"{scattered}.img", tmp_path / f"{scattered}.out"
        memfds.write_memfd(image, 64, scattered=scattered, data=tmp_path / "file")
        ran = run("extract", "--memfd", memfds.NAME, "--output", out, f"{image}@0", "--fdt", hex(trees.FDT))
        assert ran.status == 0, ran.stderr
        assert out.read_bytes() == data
