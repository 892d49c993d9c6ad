"""The fast walk of the RFC's order table against the truth of its own code, and against the slow walk."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.abi.kho_order_table import HUGETLB_PAGE_ORDER, PROP_PRESERVED_ORDER_TABLE
from khodump.fdt import parse_fdt
from khodump.findings import Finding, Severity
from khodump.memories import open_memory
from khodump.memory import PhysicalMemory
from khodump.trackers.order_table import OrderTableTracker
from tests import oracle, oracle_historic
from tests.builders.fdt import u64
from tests.builders.memory import MemoryImage, opened
from tests.builders.order_table import OrderTable, write_order_table
from tests.captures import HISTORIC
from tests.trackers.damage import damaged

each_page_size = pytest.mark.parametrize("page_size", [4096, 16384, 65536], ids=["4K", "16K", "64K"])
LOW, HIGH, HUGE = (0x7000, 0), (1 << 50, 0), (0x200000, 9)
BLOCKS = [LOW, HIGH, HUGE]


@st.composite
def block_sets(draw, page_size: int) -> set[tuple[int, int]]:
    """Runs of blocks of the orders that are restored, near each other and far apart, none ending at 2**64."""
    blocks: set[tuple[int, int]] = set()
    for _ in range(draw(st.integers(0, 5))):
        order = draw(st.integers(0, HUGETLB_PAGE_ORDER[page_size.bit_length() - 1]))
        size = page_size << order
        limit = (1 << 64) // size - 1
        first = draw(st.integers(0, 300) | st.integers(0, limit - 1))
        count = draw(st.sampled_from([1, 2, 63, 64, 65, 300]))
        blocks |= {(index * size, order) for index in range(first, min(first + count, limit))}
    return blocks


def table_nodes(table: OrderTable) -> list[int]:
    """The pages of an order table and of all its trees."""
    return [table.root, *(phys for tree in table.trees.values() for phys in tree.nodes.values())]


def flat(batches) -> list[tuple[int, int]]:
    return [(block.phys, block.order) for batch in batches for block in batch]


def agree(memory: PhysicalMemory, root: int, page_size: int) -> oracle.Walked:
    """Walk both ways, compare everything, and return the slow walk."""
    tracker = OrderTableTracker(memory, root, page_size)
    walk = tracker.walk()
    found = flat(walk)
    expected = oracle_historic.walk_order_table(memory, root, page_size)
    assert found == expected.blocks
    assert walk.nodes.phys.tolist() == expected.nodes
    assert (not walk.findings) is expected.sound
    assert all(tracker.holds(*block) for block in found[:3])
    return expected


def test_capture():
    capture = HISTORIC["rfc1"]
    with open_memory([capture.path]) as memory:
        page = memory.read(capture.fdt_phys, 4096)
        assert isinstance(page, bytes)
        root = parse_fdt(page).u64(PROP_PRESERVED_ORDER_TABLE)
        assert root
        expected = agree(memory, root, 4096)
        assert expected.blocks == capture.blocks(), "the kernel's own walk, in its order"
        tracker = OrderTableTracker(memory, root, 4096)
        assert all(tracker.holds(*block) for block in capture.blocks())
        assert tracker.holds(capture.fdt_phys, 1) is False


@each_page_size
def test_random_maps(page_size):
    @settings(max_examples=300_000 // page_size)
    @given(block_sets(page_size), block_sets(page_size))
    def check(blocks, given_up):
        image = MemoryImage(1 << 20)
        empties = sorted(given_up)[:5]
        table = write_order_table(image, page_size, blocks, empties=empties)
        with opened(image) as memory:
            walked = agree(memory, table.root, page_size)
            assert walked.sound
            assert walked.blocks == sorted(blocks, key=lambda block: (block[1], block[0]))
            assert sorted(walked.nodes) == sorted(table_nodes(table))
            tracker = OrderTableTracker(memory, table.root, page_size)
            for block in [*sorted(blocks)[:5], *empties]:
                assert tracker.holds(*block) is (block in blocks)

    check()


@each_page_size
def test_randomly_damaged_maps(page_size):
    @settings(max_examples=600_000 // page_size)
    @given(st.data())
    def check(data):
        image = MemoryImage(1 << 20)
        table = write_order_table(image, page_size, data.draw(block_sets(page_size)) | {(0, 0), (0, 1)})
        excluded = data.draw(damaged(image, table_nodes(table), page_size))
        with opened(image, excluded=excluded) as memory:
            agree(memory, table.root, page_size)

    check()


@given(st.binary(min_size=1, max_size=3), st.integers(0, 511))
@settings(max_examples=30)
def test_memory_that_is_no_table(noise, slot):
    """Pages that repeat a few bytes: almost every word is a pointer, and most of them the same."""
    image = MemoryImage()
    image.write(0, (noise * 4096)[: 4096 * 4])
    image.write(8 * slot, u64(0x1000))
    with opened(image, raw=True) as memory:
        agree(memory, 0x1000, 4096)
        agree(memory, 0x3000, 4096)


@pytest.fixture
def image() -> MemoryImage:
    return MemoryImage(1 << 20)


@pytest.fixture
def table(image) -> OrderTable:
    return write_order_table(image, 4096, BLOCKS)


def walk(image: MemoryImage, root: int, **shape) -> tuple[list[tuple[int, int]], list[Finding]]:
    """The preservations, and the findings, each of which must have evidence."""
    with opened(image, **shape) as memory:
        found = OrderTableTracker(memory, root, 4096).walk()
        blocks = flat(found)
    assert all(finding.evidence for finding in found.findings)
    return blocks, found.findings


def expect(finding: Finding, rule: str, phys: int, severity: Severity = Severity.ERROR) -> None:
    assert (finding.rule, finding.phys, finding.severity) == (rule, phys, severity)


def test_a_sound_map_has_no_findings(image, table):
    assert walk(image, table.root) == (BLOCKS, [])


def test_an_empty_map_and_empty_leaves_are_no_findings(image):
    empty = write_order_table(image, 4096, [])
    assert walk(image, empty.root) == ([], [])
    given_up = write_order_table(image, 4096, [], empties=BLOCKS)
    assert walk(image, given_up.root) == ([], [])


def test_nodes_are_counted(image):
    table = write_order_table(image, 4096, [LOW], empties=[HIGH, HUGE])
    with opened(image) as memory:
        found = OrderTableTracker(memory, table.root, 4096).walk()
        assert flat(found) == [LOW]
    nodes = found.nodes
    assert (len(nodes), nodes.leaves, nodes.empties) == (len(table_nodes(table)), 3, 2)


def test_no_root(image, table):
    assert table.root
    blocks, (finding,) = walk(image, 0)
    assert (blocks, finding.rule) == ([], "map-root-missing")


def test_a_slot_of_0_is_none_and_not_page_0(image, table):
    image.write(0, u64(table.root) * 512)
    assert walk(image, table.root) == (BLOCKS, [])
    with opened(image) as memory:
        assert OrderTableTracker(memory, table.root, 4096).holds(0x2000, 1) is False


@pytest.mark.parametrize("order", [10, 12, 20, 50])
def test_an_order_that_is_not_restored_is_listed_and_counted(image, order):
    block = (1 << (12 + order), order)
    table = write_order_table(image, 4096, [LOW, block])
    blocks, (finding,) = walk(image, table.root)
    assert blocks == [LOW, block]
    expect(finding, "map-order-not-restored", table.root, Severity.WARNING)
    assert finding.message.endswith("the next kernel does not restore its 1 block")
    assert finding.evidence == {"slot": order, "value": table.trees[order].root}
    with opened(image) as memory:
        assert OrderTableTracker(memory, table.root, 4096).holds(*block) is True


@pytest.mark.parametrize(("page_size", "highest"), [(4096, 9), (16384, 11), (65536, 13)])
def test_the_highest_order_that_is_restored(image, page_size, highest):
    blocks = [(0, highest), (0, highest + 1)]
    table = write_order_table(image, page_size, blocks)
    with opened(image) as memory:
        found = OrderTableTracker(memory, table.root, page_size).walk()
        assert flat(found) == blocks
    assert [finding.evidence["slot"] for finding in found.findings] == [highest + 1]


def test_an_excluded_order_table(image, table):
    blocks, (finding,) = walk(image, table.root, excluded=[(table.root, table.root + 4096)])
    assert blocks == []
    expect(finding, "map-node-unreadable", table.root)
    assert "the order table" in finding.message
    assert "excluded from the dump" in finding.message


def test_an_order_table_outside_memory(image, table):
    blocks, (finding,) = walk(image, 1 << 45)
    assert (blocks, len(table.trees)) == ([], 2)
    expect(finding, "map-pointer-outside-memory", 1 << 45)


def test_an_unaligned_root(image, table):
    blocks, (finding,) = walk(image, table.root + 8)
    assert blocks == []
    expect(finding, "map-pointer-unaligned", table.root + 8)
    assert "root" in finding.message


@pytest.mark.parametrize("low_bits", [1, 8, 0x800])
def test_an_unaligned_top_table(image, table, low_bits):
    top = table.trees[0].root | low_bits
    image.write(table.root, u64(top))
    blocks, (finding,) = walk(image, table.root)
    assert (blocks, finding.rule) == ([HUGE], "map-pointer-unaligned")
    assert f"slot 0 of the order table, {top:#x} is not page-aligned" in finding.message
    assert finding.evidence["value"] == top


def test_a_top_table_outside_memory(image, table):
    image.write(table.root + 8 * 9, u64(1 << 45))
    blocks, (finding,) = walk(image, table.root)
    assert blocks == [LOW, HIGH]
    expect(finding, "map-pointer-outside-memory", 1 << 45)


def test_a_top_table_shared_by_two_orders(image, table):
    image.write(table.root + 8 * 9, u64(table.trees[0].root))
    blocks, (finding,) = walk(image, table.root)
    assert (blocks, finding.rule) == ([LOW, HIGH], "map-node-shared")
    assert "slot 9 of the order table" in finding.message


def test_a_top_table_that_is_the_order_table(image, table):
    image.write(table.root + 8 * 3, u64(table.root))
    blocks, (finding,) = walk(image, table.root)
    assert (blocks, finding.rule) == (BLOCKS, "map-node-shared")


def test_an_absent_leaf(image, table):
    leaf = table.trees[0].leaves()[0]
    image.drop(leaf)
    blocks, (finding,) = walk(image, table.root)
    assert blocks == [HIGH, HUGE]
    expect(finding, "map-node-unreadable", leaf)


def test_a_block_that_ends_at_the_end_of_the_address_space(image):
    top = (1 << 64) - 4096
    table = write_order_table(image, 4096, [(top - 4096, 0), (top, 0)])
    blocks, (finding,) = walk(image, table.root)
    assert blocks == [(top - 4096, 0)]
    expect(finding, "map-key-impossible", table.trees[0].leaves()[0])


def test_holds_tells_what_cannot_be_read(image, table):
    image.drop(table.trees[0].leaves()[0])
    with opened(image) as memory:
        tracker = OrderTableTracker(memory, table.root, 4096)
        assert tracker.holds(*LOW) is None
        assert tracker.holds(*HIGH) is True
        assert tracker.holds(*HUGE) is True
        assert tracker.holds(0x201000, 9) is False, "no block of that order can have that address"
        assert tracker.holds(0x400000, 9) is False
        assert OrderTableTracker(memory, table.root + 0x100000, 4096).holds(*HIGH) is None


def test_soundness_is_of_the_tables_and_not_of_the_leaves(image, table):
    empty = write_order_table(image, 4096, [])
    shifted = write_order_table(image, 4096, [HUGE])
    image.write(shifted.root + 8 * 9, u64(shifted.trees[9].root + 8))
    image.drop(table.trees[0].leaves()[0])
    with opened(image) as memory:
        assert OrderTableTracker(memory, table.root, 4096).sound() is True
        assert OrderTableTracker(memory, empty.root, 4096).sound() is False, "a map holds something"
        assert OrderTableTracker(memory, shifted.root, 4096).sound() is False
