"""Page size and depth from evidence alone: raw images say nothing of their machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from khodump.abi.kexec_handover import radix_depth
from khodump.fdt import parse_fdt
from khodump.tracker import UNREADABLE_NODE, Trace, Tracker, Walk
from khodump.trackers import open_tracker
from khodump.trackers.evidence import choose
from tests.builders.fdt import build_fdt, u64
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover
from tests.builders.memory import opened
from tests.builders.radix import write_radix

#: What a bitmap of 512 bytes and one of a page cover, at order 0 with 4 KiB pages.
SMALL, LARGE = 1 << 24, 1 << 27
SHAPES = [(4096, True), (16384, True), (16384, False), (65536, True)]
IDS = ["4K", "16K", "16K shallow", "64K"]
each_shape = pytest.mark.parametrize(("page_size", "counts_marker"), SHAPES, ids=IDS)


def handover(
    page_size: int, *, counts_marker: bool = True, version: str = "kho-v4", release: str | None = None
) -> BuiltHandover:
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
            release=release,
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


class Read(Tracker):
    """A reading of which all that counts is said."""

    page_shift, root, depth, leaf_size, shape = 12, 0, 6, 4096, "tree"

    def __init__(self, reading: str, *, holds: bool | None, flaws: set[str]) -> None:
        self.reading, self._holds, self._flaws = reading, holds, flaws

    def walk(self) -> Walk:
        return Walk()

    def holds(self, phys: int, order: int) -> bool | None:  # noqa: ARG002
        return self._holds

    def trace(self, phys: int, order: int) -> Trace:
        raise NotImplementedError

    def flaws(self) -> set[str]:
        return self._flaws


@pytest.mark.parametrize(("holds", "flaws"), [(False, set()), (None, set()), (None, {UNREADABLE_NODE})])
def test_of_readings_that_hold_the_own_page_one_is_taken_whatever_else_fits(holds, flaws):
    """However sound another one is."""
    owners = [Read(name, holds=True, flaws={"x"}) for name in ("first", "second")]
    other = Read("sound", holds=holds, flaws=flaws)
    taken = choose([other, *owners], "", 0x1000)
    assert (taken.tracker, taken.certain) == (owners[0], False)
    assert taken.reason == "a guess: second fit as well"


def without_own_page(built: BuiltHandover, level: int = 0) -> BuiltHandover:
    """The same handover in an image that lacks the node of a level that leads to the root FDT's own page."""
    geometry = built.geometry
    covered = (
        64 - geometry.page_shift + (geometry.depth == radix_depth(geometry.page_shift, counts_marker=True))
    )
    key = geometry.encode(built.fdt_phys, 0) & ((1 << covered) - 1)
    prefix = key >> geometry.key_shift(level)
    built.image.drop(built.tree.nodes[level, prefix], built.geometry.page_size)
    return built


ARM: dict[str, Any] = {"machine": "EM_AARCH64"}


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("counts_marker", [True, False])
def test_the_release_tells_the_depth_where_the_own_page_is_lost(counts_marker, level):
    release = "7.1.2" if counts_marker else "7.1.0-rc3"
    built = handover(16384, counts_marker=counts_marker, version="kho-v3", release=release)
    lines = {"PAGESIZE": "16384", "OSRELEASE": "7.2.1"}  # of who received it, and who made it says so itself
    (_, depth), _ = chosen(without_own_page(built, level), vmcoreinfo=lines, **ARM)
    assert depth == built.geometry.depth


@pytest.mark.parametrize(("counts_marker", "release"), [(False, "7.1.2"), (True, "7.1.0-rc3")])
def test_the_own_page_outweighs_the_release(counts_marker, release):
    """It may be the release of the kernel that received the handover."""
    built = handover(16384, counts_marker=counts_marker, version="kho-v3", release=release)
    lines = {"PAGESIZE": "16384", "OSRELEASE": release}
    assert chosen(built, vmcoreinfo=lines, **ARM) == (truth(built), True)


def test_a_reading_that_the_own_page_contradicts_gives_way_to_one_whose_part_is_lost():
    built = without_own_page(handover(16384, version="kho-v3", release="7.1.0-rc5-00123-gc0ffee"))
    (_, depth), _ = chosen(built, vmcoreinfo={"PAGESIZE": "16384"}, **ARM)
    assert depth == built.geometry.depth


def chain(page_size: int, bitmap_size: int, count: int = 8) -> BuiltHandover:
    """A chain with a block in each of so many bitmaps of a page, besides the root FDT's own page."""
    far = page_size * 8 * page_size
    blocks = tuple((number * far + (64 << 20), 0) for number in range(1, count))
    kind = MapFormat.CHAIN
    return build_handover(
        Description(
            compatible="kho-v1",
            map_format=kind,
            page_size=page_size,
            bitmap_size=bitmap_size,
            preservations=blocks,
            kexec_count=None,
        )
    )


def move_a_pointer(built: BuiltHandover, number: int, by: int = 512) -> None:
    """Let a bitmap's pointer in the first chunk be a little off, as a flipped bit leaves it."""
    at = built.tree.root + 16 + 16 * number + 8
    pointer = int.from_bytes(built.image.read(at, 8), "little")
    built.image.write(at, u64(pointer + by))


def bitmaps_of(built: BuiltHandover, **lines: str) -> int:
    """The size of the bitmaps by which the map is read."""
    size = str(built.geometry.page_size)
    with opened(built.image, vmcoreinfo={"PAGESIZE": size, **lines}, **ARM) as memory:
        tracker = open_tracker(memory, parse_fdt(built.fdt), fdt_phys=built.fdt_phys).tracker
        list(tracker.walk())
        return tracker.leaf_size


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
@pytest.mark.parametrize("lines", [{}, {"OSRELEASE": "6.18.2"}])
@pytest.mark.parametrize("number", [0, 3])
def test_one_unaligned_pointer_among_many_does_not_make_all_bitmaps_small(page_size, number, lines):
    built = chain(page_size, page_size)
    move_a_pointer(built, number)
    assert bitmaps_of(built, **lines) == page_size


def test_the_own_page_outweighs_an_unaligned_pointer_of_few():
    """Two bitmaps prove nothing by their number, and small ones would not reach the root FDT's page."""
    built = build_handover(
        Description(
            compatible="kho-v1",
            map_format=MapFormat.CHAIN,
            preservations=((LARGE, 0),),
            kexec_count=None,
            metadata_start=SMALL + (1 << 20),
        )
    )
    move_a_pointer(built, 1)
    assert bitmaps_of(built) == 4096


@pytest.mark.parametrize("page_size", [4096, 16384])
def test_small_bitmaps_of_which_some_are_aligned_by_chance_stay_small(page_size):
    built = chain(page_size, 512, count=24)
    assert bitmaps_of(built) == 512
