"""Page size and depth from evidence alone: raw images say nothing of their machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from khodump.abi.kexec_handover import RADIX_VERSIONS
from khodump.trackers.radix import RadixTracker
from khodump.trackers.radix_geometry import Choice, choose
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.memory import opened
from tests.builders.radix import write_radix

SHAPES = [(4096, True), (16384, True), (16384, False), (65536, True)]
IDS = ["4K", "16K", "16K shallow", "64K"]
each_shape = pytest.mark.parametrize(("page_size", "counts_marker"), SHAPES, ids=IDS)


def handover(page_size: int, *, counts_marker: bool, version: str = "kho-v3") -> BuiltHandover:
    """A handover with blocks of several orders above its metadata."""
    base = 64 << 20
    blocks = [(base + index * page_size, 0) for index in range(5)]
    blocks += [
        (base + (page_size << 12) + index * (page_size << order), order)
        for order in (1, 4, 9)
        for index in (0, 3)
    ]
    blocks = [(phys & -(page_size << order), order) for phys, order in blocks]
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
    built: BuiltHandover, *, version: str = "kho-v3", fdt: bool = True, page_size: int | None = None, **shape
) -> Choice:
    with opened(built.image, **shape) as memory:
        return choose(
            memory,
            built.tree.root,
            RADIX_VERSIONS[version],
            page_size=page_size,
            fdt_phys=built.fdt_phys if fdt else None,
        )


@each_shape
def test_the_own_page_of_the_fdt_tells_on_a_raw_image(page_size, counts_marker):
    built = handover(page_size, counts_marker=counts_marker)
    choice = chosen(built, raw=True)
    assert (choice.geometry.page_size, choice.geometry.depth) == (page_size, built.geometry.depth)
    assert choice.certain


@each_shape
def test_sound_pointers_tell_without_the_fdt(page_size, counts_marker):
    """Without the FDT's address the right reading may tie with others, but then it is not called certain."""
    built = handover(page_size, counts_marker=counts_marker)
    choice = chosen(built, raw=True, fdt=False)
    assert not choice.certain or (choice.geometry.page_size, choice.geometry.depth) == (
        page_size,
        built.geometry.depth,
    )


@each_shape
def test_the_chosen_reading_gives_the_map(page_size, counts_marker):
    built = handover(page_size, counts_marker=counts_marker)
    with opened(built.image, raw=True) as memory:
        choice = choose(
            memory, built.tree.root, RADIX_VERSIONS["kho-v3"], page_size=None, fdt_phys=built.fdt_phys
        )
        walk = RadixTracker(memory, built.tree.root, choice.geometry).walk()
        assert {tuple(block) for batch in walk for block in batch} == built.blocks
        assert walk.findings == []


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_vmcoreinfo_tells(page_size):
    built = handover(page_size, counts_marker=True, version="kho-v4")
    lines = {"PAGESIZE": str(page_size)}
    choice = chosen(built, version="kho-v4", fdt=False, machine="EM_AARCH64", vmcoreinfo=lines)
    assert (choice.geometry, choice.certain) == (built.geometry, True)


@pytest.mark.parametrize("said", ["", "8192", "four", "-4096"])
def test_a_page_size_that_makes_no_sense_is_not_believed(said):
    built = handover(65536, counts_marker=True, version="kho-v4")
    choice = chosen(built, version="kho-v4", machine="EM_AARCH64", vmcoreinfo={"PAGESIZE": said})
    assert choice.geometry == built.geometry


def test_x86_tells():
    built = handover(4096, counts_marker=True, version="kho-v4")
    choice = chosen(built, version="kho-v4", fdt=False)
    assert (choice.geometry, choice.certain) == (built.geometry, True)


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_a_forced_page_size_is_taken(page_size):
    built = handover(4096, counts_marker=True, version="kho-v4")
    choice = chosen(built, version="kho-v4", raw=True, page_size=page_size)
    assert (choice.geometry.page_size, choice.certain) == (page_size, True)


@pytest.mark.parametrize("counts_marker", [True, False])
def test_a_forced_page_size_leaves_the_depth_to_be_found(counts_marker):
    built = handover(16384, counts_marker=counts_marker)
    assert chosen(built, page_size=16384).geometry.depth == built.geometry.depth


def test_the_versions_without_the_fix_have_one_depth():
    built = handover(16384, counts_marker=False, version="kho-v2")
    choice = chosen(built, version="kho-v2", fdt=False, page_size=16384)
    assert (choice.geometry.depth, choice.certain) == (4, True)
    assert choice.geometry == replace(built.geometry, order0_end=(1 << 40) >> 14)


def test_an_empty_map_is_not_called_certain():
    built = handover(4096, counts_marker=True)
    empty = write_radix(built.image, built.geometry, [])
    with opened(built.image, raw=True) as memory:
        choice = choose(memory, empty.root, RADIX_VERSIONS["kho-v3"], page_size=None, fdt_phys=built.fdt_phys)
    assert not choice.certain
