"""What damage leaves open: all that was lost with a page of the map, and nothing that is there."""

from __future__ import annotations

import pytest

import khodump
from khodump.diffing.unknown import Unknown, unknown, unknown_steps
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover

BLOCKS = ((0x4000_0000, 0), (0x4000_1000 * 16, 0), (0x8000_0000, 9), (0xC000_0000, 3), (1 << 44, 0))


def built(page_size: int, map_format: MapFormat = MapFormat.RADIX) -> BuiltHandover:
    blocks = tuple((phys - phys % (page_size << order), order) for phys, order in BLOCKS)
    older = {} if map_format is MapFormat.RADIX else {"compatible": "kho-v1", "map_format": map_format}
    return build_handover(
        Description(page_size=page_size, preservations=blocks, kexec_count=None, **older)  # type: ignore[arg-type]
    )


def seen(of: BuiltHandover, page_size: int, tmp_path) -> tuple[set[tuple[int, int]], list[Unknown]]:
    """What is found preserved, and what is unknown."""
    path = of.image.to_elf(tmp_path / "core")
    with khodump.open(path, fdt=of.fdt_phys, page_size=page_size) as handover:
        return {(phys, order) for phys, order in handover.preserved}, unknown(handover)


def covers(spans: list[Unknown], block: tuple[int, int], page_size: int) -> bool:
    phys, order = block
    return any(
        span.start <= phys and phys + (page_size << order) <= span.end and span.order == order
        for span in spans
    )


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
@pytest.mark.parametrize("map_format", [MapFormat.RADIX, MapFormat.CHAIN, MapFormat.ORDER_TABLE])
def test_what_goes_with_a_page_of_the_map_is_unknown(page_size, map_format, tmp_path):
    whole = built(page_size, map_format)
    assert seen(whole, page_size, tmp_path) == (set(whole.blocks), [])
    for node in whole.map_nodes:
        damaged = built(page_size, map_format)
        damaged.image.drop(node)
        found, spans = seen(damaged, page_size, tmp_path)
        assert found < whole.blocks
        assert all(covers(spans, block, page_size) for block in whole.blocks - found)
        if map_format is MapFormat.RADIX:
            assert not any(covers(spans, block, page_size) for block in found)


def test_what_several_bad_pointers_of_a_table_lead_to_is_unknown(tmp_path):
    damaged = built(4096)
    geometry = damaged.geometry
    slots = {
        (damaged.tree.nodes[1, key >> geometry.key_shift(1)], geometry.path(key)[0][-1])
        for key in (geometry.encode(*block) for block in damaged.blocks)
    }
    for table, slot in slots:
        damaged.image.write(table + 8 * slot, u64(0x123))
        damaged.image.write(table + 8 * (slot ^ 1), u64(0x123))
    found, spans = seen(damaged, 4096, tmp_path)
    assert found == set()
    assert all(covers(spans, block, 4096) for block in damaged.blocks)


def test_masks_are_by_size_of_block_and_page_number():
    spans = [Unknown(0x1000_0000, 0x2000_0000, 0), Unknown(0x1800_0000, 0x3000_0000, 4)]
    steps = unknown_steps(spans, 16, 12)
    assert steps
    assert steps.edge.tolist() == [0x1_0000, 0x1_8000, 0x2_0000, 0x3_0000]
    assert steps.state.tolist() == [1 << 16, 1 << 16 | 1 << 20, 1 << 20, 0]
    assert unknown_steps([], 12, 12) is None
