"""Page size and depth from evidence alone: raw images say nothing of their machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from khodump.fdt import parse_fdt
from khodump.trackers import open_tracker
from tests.builders.fdt import build_fdt, u64
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.memory import opened
from tests.builders.radix import write_radix

SHAPES = [(4096, True), (16384, True), (16384, False), (65536, True)]
IDS = ["4K", "16K", "16K shallow", "64K"]
each_shape = pytest.mark.parametrize(("page_size", "counts_marker"), SHAPES, ids=IDS)


def handover(page_size: int, *, counts_marker: bool = True, version: str = "kho-v4") -> BuiltHandover:
    """A handover with blocks of several orders above its metadata."""
    base = 64 << 20
    blocks = [(base + index * page_size, 0) for index in range(5)]
    for order in (1, 4, 9):
        size = page_size << order
        first = -(-(base + (page_size << 12)) // size)
        blocks += [((first + index) * size, order) for index in (0, 3)]
    return build_handover(
        Description(
            compatible=version,
            page_size=page_size,
            counts_marker=counts_marker,
            preservations=tuple(blocks),
            subtrees={"LUO": b"luo"},
            metadata_end=32 << 20,
        )
    )


def chosen(
    built: BuiltHandover, *, fdt: bool = True, page_size: int | None = None, **shape: Any
) -> tuple[tuple[int, int | None], bool]:
    """The (page size, depth) that is chosen, and whether that is certain; `shape` goes to `opened()`."""
    with opened(built.image, **shape) as memory:
        fdt_phys = built.fdt_phys if fdt else None
        found = open_tracker(memory, parse_fdt(built.fdt), fdt_phys=fdt_phys, page_size=page_size)
    return (1 << found.tracker.page_shift, found.tracker.depth), found.certain


def truth(built: BuiltHandover) -> tuple[int, int]:
    return built.geometry.page_size, built.geometry.depth


@each_shape
def test_the_own_page_of_the_fdt_tells_on_a_raw_image(page_size, counts_marker):
    built = handover(page_size, counts_marker=counts_marker, version="kho-v3")
    assert chosen(built, raw=True) == (truth(built), True)


@each_shape
def test_without_the_fdt_a_tie_is_not_called_certain(page_size, counts_marker):
    built = handover(page_size, counts_marker=counts_marker, version="kho-v3")
    shape, certain = chosen(built, raw=True, fdt=False)
    assert shape == truth(built) or not certain


def test_sound_pointers_tell_without_the_fdt():
    built = handover(4096, version="kho-v3")
    assert chosen(built, raw=True, fdt=False) == (truth(built), True)


@each_shape
def test_the_chosen_reading_gives_the_map(page_size, counts_marker):
    built = handover(page_size, counts_marker=counts_marker, version="kho-v3")
    with opened(built.image, raw=True) as memory:
        found = open_tracker(memory, parse_fdt(built.fdt), fdt_phys=built.fdt_phys)
        walk = found.tracker.walk()
        assert {(block.phys, block.order) for batch in walk for block in batch} == built.blocks
        assert walk.findings == []


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_vmcoreinfo_tells(page_size):
    built = handover(page_size)
    lines = {"PAGESIZE": str(page_size)}
    assert chosen(built, fdt=False, machine="EM_AARCH64", vmcoreinfo=lines) == (truth(built), True)


@pytest.mark.parametrize("said", ["", "8192", "four", "-4096"])
def test_a_page_size_that_makes_no_sense_is_not_believed(said):
    built = handover(65536)
    assert chosen(built, machine="EM_AARCH64", vmcoreinfo={"PAGESIZE": said}) == (truth(built), True)


def test_x86_tells():
    built = handover(4096)
    assert chosen(built, fdt=False) == (truth(built), True)


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_a_forced_page_size_is_taken(page_size):
    (taken, _), certain = chosen(handover(4096), raw=True, page_size=page_size)
    assert (taken, certain) == (page_size, True)


@pytest.mark.parametrize("counts_marker", [True, False])
def test_a_forced_page_size_leaves_the_depth_to_be_found(counts_marker):
    built = handover(16384, counts_marker=counts_marker, version="kho-v3")
    assert chosen(built, page_size=16384) == (truth(built), True)


@pytest.mark.parametrize(("version", "counts_marker"), [("kho-v2", False), ("kho-v4", True)])
def test_only_one_version_stands_for_both_depths(version, counts_marker):
    built = handover(16384, counts_marker=counts_marker, version=version)
    assert chosen(built, fdt=False, page_size=16384) == (truth(built), True)


def test_an_empty_map_is_not_called_certain():
    built = handover(4096, version="kho-v3")
    empty = write_radix(built.image, built.geometry, [])
    tree = parse_fdt(built.fdt)
    tree = replace(tree, properties={**tree.properties, "preserved-memory-map": u64(empty.root)})
    _, certain = chosen(replace(built, fdt=build_fdt(tree)), raw=True)
    assert not certain
