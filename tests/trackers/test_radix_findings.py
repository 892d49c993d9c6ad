"""Every rule of the walk: where it fires, what it says, and what is read all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from khodump.findings import Finding, Severity
from khodump.memories import open_memory
from khodump.trackers.radix import RadixTracker
from tests.builders.fdt import u64
from tests.builders.memory import MemoryImage, opened
from tests.builders.radix import RadixTree, geometry_of, write_radix

GEOMETRY = geometry_of(4096)
LOW, HIGH = (0x200000, 9), (0x7000, 0)  # one leaf each; order 9 comes first


@pytest.fixture
def image() -> MemoryImage:
    return MemoryImage(1 << 20)


@pytest.fixture
def tree(image) -> RadixTree:
    return write_radix(image, GEOMETRY, [LOW, HIGH])


def walk(image: MemoryImage, root: int, **shape) -> tuple[list[tuple[int, int]], list[Finding]]:
    """The preservations, and the findings, each of which must be an error with evidence."""
    with opened(image, **shape) as memory:
        found = RadixTracker(memory, root, GEOMETRY).walk()
        blocks = [(block.phys, block.order) for batch in found for block in batch]
    for finding in found.findings:
        assert finding.severity is Severity.ERROR
        assert finding.evidence
    return blocks, found.findings


def last_table(tree: RadixTree) -> int:
    """The table right above the leaf of HIGH."""
    return tree.nodes[1, GEOMETRY.encode(*HIGH) >> GEOMETRY.key_shift(1)]


def test_a_sound_tree_has_no_findings(image, tree):
    assert walk(image, tree.root) == ([LOW, HIGH], [])


def test_an_empty_tree_and_empty_leaves_are_no_findings(image):
    empty = write_radix(image, GEOMETRY, [])
    assert walk(image, empty.root) == ([], [])
    given_up = write_radix(image, GEOMETRY, [], empties=[LOW, HIGH])
    assert walk(image, given_up.root) == ([], [])


def test_no_root(image, tree):
    assert len(tree.nodes) > 1
    blocks, (finding,) = walk(image, 0)
    assert (blocks, finding.rule) == ([], "map-root-missing")


@pytest.mark.parametrize("low_bits", [1, 8, 0xFFF])
def test_an_unaligned_pointer(image, tree, low_bits):
    leaf = tree.leaves()[-1]
    image.write(last_table(tree), u64(leaf | low_bits))
    blocks, (finding,) = walk(image, tree.root)
    assert (blocks, finding.rule) == ([LOW], "map-pointer-unaligned")
    assert finding.phys == last_table(tree)
    assert (finding.evidence["slot"], finding.evidence["value"]) == (0, leaf | low_bits)
    assert "slot 0" in finding.message
    assert f"{leaf | low_bits:#x}" in finding.message


def test_an_unaligned_root(image, tree):
    blocks, (finding,) = walk(image, tree.root + 8)
    assert (blocks, finding.rule, finding.phys) == ([], "map-pointer-unaligned", tree.root + 8)
    assert "root" in finding.message


def test_many_bad_slots_of_one_table_are_one_finding(image, tree):
    for slot in range(100, 150):
        image.write(last_table(tree) + 8 * slot, u64(0x123001 + slot * 0x1000))
    blocks, (finding,) = walk(image, tree.root)
    assert (blocks, finding.rule) == ([LOW, HIGH], "map-pointer-unaligned")
    assert (finding.evidence["slot"], finding.evidence["slots"]) == (100, 50)
    assert "50 such slots" in finding.message


@pytest.mark.parametrize("where", [1 << 45, (1 << 64) - 4096])
def test_a_pointer_outside_memory(image, tree, where):
    image.write(last_table(tree) + 8, u64(where))
    blocks, (finding,) = walk(image, tree.root)
    assert (blocks, finding.rule, finding.phys) == ([LOW, HIGH], "map-pointer-outside-memory", where)
    assert "outside memory: RAM does not reach" in finding.message
    assert finding.evidence["parent"] == last_table(tree)


def test_an_absent_node(image, tree):
    leaf = tree.leaves()[-1]
    image.drop(leaf)
    image.write(leaf + 0x10000, b"the image goes on")
    blocks, (finding,) = walk(image, tree.root)
    assert (blocks, finding.rule, finding.phys) == ([LOW], "map-node-unreadable", leaf)
    assert "not in the dump" in finding.message


def test_an_excluded_node(image, tree):
    table = last_table(tree)
    blocks, (finding,) = walk(image, tree.root, excluded=[(table, table + 4096)])
    assert (blocks, finding.rule, finding.phys) == ([LOW], "map-node-unreadable", table)
    assert "the table at" in finding.message
    assert "excluded from the dump" in finding.message


def test_a_truncated_node(image, tree, tmp_path: Path):
    path = image.to_elf(tmp_path / "core")
    path.write_bytes(path.read_bytes()[:-1])  # the last page written is the leaf of HIGH
    assert image.ranges[-1][1] == max(tree.leaves()) + 4096
    memory = open_memory([path])
    found = RadixTracker(memory, tree.root, GEOMETRY).walk()
    assert sum(len(batch) for batch in found) == 1
    memory.close()
    (finding,) = found.findings
    assert (finding.rule, finding.phys) == ("map-node-unreadable", max(tree.leaves()))
    assert "the image file ends before it" in finding.message


def test_an_unreadable_root(image, tree):
    blocks, (finding,) = walk(image, tree.root, excluded=[(tree.root, tree.root + 4096)])
    assert (blocks, finding.rule, finding.phys) == ([], "map-node-unreadable", tree.root)


def test_a_leaf_shared_by_two_slots(image, tree):
    image.write(last_table(tree) + 8, u64(tree.leaves()[-1]))
    blocks, (finding,) = walk(image, tree.root)
    assert (blocks, finding.rule) == ([LOW, HIGH], "map-node-shared")
    assert (finding.phys, finding.evidence["slot"]) == (last_table(tree), 1)


def test_a_leaf_shared_by_two_tables(image, tree):
    low_leaf = tree.leaves()[0]
    image.write(last_table(tree), u64(low_leaf))
    blocks, (finding,) = walk(image, tree.root)
    assert (blocks, finding.rule, finding.phys) == ([LOW], "map-node-shared", last_table(tree))


def test_a_cycle(image, tree):
    image.write(last_table(tree) + 8 * 5, u64(tree.root))
    blocks, (finding,) = walk(image, tree.root)
    assert (blocks, finding.rule) == ([LOW, HIGH], "map-node-shared")
    assert finding.evidence["value"] == tree.root


def test_a_root_that_points_to_itself_everywhere(image, tree):
    image.write(tree.root, u64(tree.root) * 512)
    blocks, findings = walk(image, tree.root)
    assert blocks == []
    assert {finding.rule for finding in findings} == {"map-node-shared", "map-key-impossible"}


def test_a_slot_whose_keys_are_too_wide(image, tree):
    """Slot 4 of a 4K root would set bit 53, and the widest key has 53 bits."""
    image.write(tree.root + 8 * 4, u64(tree.leaves()[0]))
    blocks, (finding,) = walk(image, tree.root)
    assert (blocks, finding.rule, finding.phys) == ([LOW, HIGH], "map-key-impossible", tree.root)
    assert (finding.evidence["slot"], finding.evidence["prefix"]) == (4, 4)


@pytest.mark.parametrize(
    ("bits", "listed", "lost"),
    [
        (0b1, [], 1),  # no order bit at all
        (0b10, [], 1),  # all of the address space
        (0b111, [(0, 51)], 2),
        (0b1111, [(0, 51)], 3),  # the upper half ends at 2**64
        (0b1000_0000, [], 1),
    ],
)
def test_keys_that_no_kernel_makes(image, bits, listed, lost):
    tree = write_radix(image, GEOMETRY, [(0, 40)])  # key 0x1000, in the leaf of the lowest keys
    (leaf,) = tree.leaves()
    image.write(leaf, u64(bits))
    blocks, findings = walk(image, tree.root)
    assert blocks == [*listed, (0, 40)]
    assert {(finding.rule, finding.phys) for finding in findings} == {("map-key-impossible", leaf)}
    assert sum(finding.evidence["keys"] for finding in findings) == lost


def test_a_run_that_crosses_from_one_order_into_the_next(image):
    """Keys 0x1ffe and 0x2000 belong to orders 40 and 39; 0x1fff between them ends at 2**64."""
    tree = write_radix(image, GEOMETRY, [(0, 40)])
    (leaf,) = tree.leaves()
    image.write(leaf + 0x1FF8 // 8, b"\xff\xff")
    blocks, (finding,) = walk(image, tree.root)
    size = 1 << 52
    top = [(index * size, 40) for index in range(0xFF8, 0xFFF)]
    assert blocks == [(0, 40), *top, *((index * size // 2, 39) for index in range(8))]
    assert (finding.rule, finding.evidence["keys"]) == ("map-key-impossible", 1)
