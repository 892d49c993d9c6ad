"""Breaks of the rules of kho-v1's maps: the chain of bitmaps, and the RFC's order table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from khodump.abi.kernels import kernel_named
from khodump.abi.khoser import KHOSER_MEM_BITMAP_PTR, KHOSER_MEM_CHUNK_HDR
from khodump.checking.rule import Effect
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover, MapFormat
from tests.builders.users import Memblock, ReserveMem
from tests.checking.rules.breaking import (
    DISABLED,
    FDT_OWNER,
    Break,
    breaks,
    flipped,
    handed_over,
    in_fdt,
    pointer_in_fdt,
)

OLD: dict[str, Any] = {"compatible": "kho-v1", "map_format": MapFormat.CHAIN, "kexec_count": None}
COVERS = 32768 * 4096  # a page of bits of order 0
FAR_ORDERS = Memblock((ReserveMem("logs", 0x400_0000, 0x1F000),))
#: One region whose pages take a block of each order from 0 to 4, and so a bitmap each.
ORDERS = Memblock((ReserveMem("logs", 0x20_0000, 0x1F000),))


def element(built: BuiltHandover, number: int) -> int:
    """The address of an element of the first chunk, that of order 0; phys_start comes first in it."""
    size: int = KHOSER_MEM_BITMAP_PTR.sizeof()
    return built.tree.root + KHOSER_MEM_CHUNK_HDR.size + number * size


def windows(count: int) -> BuiltHandover:
    """A chain whose first chunk has this many elements, each for one window of memory."""
    pages = [(number * COVERS + 0x100_0000, 0) for number in range(1, count)]
    return handed_over({"memblock": FAR_ORDERS}, preservations=tuple(pages), **OLD)


KEEPS_NOTHING = "boots as if all had been handed over, and keeps none of it"
GUESS = ("v1-bitmap-size",)  # of a map that is not there, nothing tells
NO_BITMAPS = "KHO: failed to get preserved memory bitmaps"


def for_kernel(release: str, built: BuiltHandover, at: int, data: bytes, effect: Effect, then: str) -> Break:
    kernel = kernel_named(release)
    return Break(built, at, data, effect, then, also=GUESS, before=GUESS, kernel=kernel)


def at_0(release: str, effect: Effect, then: str) -> Break:
    """The map's address is 0."""
    built = handed_over({}, **OLD)
    return for_kernel(release, built, pointer_in_fdt(built, built.tree.root), u64(0), effect, then)


def without_property(release: str, effect: Effect, then: str, *log: str) -> Break:
    """The property that leads to the map is called something else."""
    built = handed_over({}, **OLD)
    changed = flipped(built, in_fdt(built, b"preserved-memory-map\0"), 0)
    broken = for_kernel(release, built, *changed, effect, then)
    return replace(broken, owner=FDT_OWNER, phys=built.fdt_phys, log=log)


@breaks("map-root-missing")
def never_finalized() -> Break:
    """As 6.19 hands it over with live update, where nobody finalized."""
    return at_0("6.19", Effect.COLD_BOOT, "frees its scratch memory a second time")


@breaks("map-root-missing")
def root_is_0_for_6_18() -> Break:
    return at_0("6.18", Effect.OVERWRITTEN, KEEPS_NOTHING)


@breaks("map-root-missing")
def no_property_for_7_0() -> Break:
    return without_property("7.0", Effect.COLD_BOOT, "boots cold", NO_BITMAPS, DISABLED)


@breaks("map-root-missing")
def no_property_for_6_19() -> Break:
    return without_property("6.19", Effect.COLD_BOOT, "frees its scratch memory a second time", NO_BITMAPS)


@breaks("map-root-missing")
def no_property_for_6_18() -> Break:
    return without_property("6.18", Effect.OVERWRITTEN, KEEPS_NOTHING, NO_BITMAPS)


@breaks("map-chunk-count")
def more_than_fit() -> Break:
    """255 fit, and are there; the count becomes 511."""
    built = windows(255)
    chunk = built.tree.root
    then = "takes what follows the chunk's page for pointers, and follows them"
    return Break(built, *flipped(built, chunk + 12, 8), Effect.PANIC, then, phys=chunk, before=("unclaimed",))


@breaks("map-elements-repeated")
def one_window_twice() -> Break:
    built = windows(2)
    at, data = flipped(built, element(built, 1), 27)
    then = "keeps what either of the two bitmaps says"
    return Break(built, at, data, Effect.OVERWRITTEN, then, phys=built.tree.root, before=("unclaimed",))


@breaks("map-elements-unordered")
def one_window_too_far() -> Break:
    built = windows(3)
    at, data = flipped(built, element(built, 1), 29)
    infos: dict[str, Any] = {"also": ("unclaimed",), "before": ("unclaimed",)}
    return Break(
        built, at, data, Effect.NONE, "takes the elements in any order", phys=built.tree.root, **infos
    )


@breaks("map-order-not-restored")
def past_the_array() -> Break:
    built = handed_over({"memblock": ORDERS}, **OLD | {"map_format": MapFormat.ORDER_TABLE})
    table = built.tree.root
    then = "never visits that slot, and reuses the blocks below it"
    return Break(
        built,
        table + 8 * 10,
        u64(built.image.alloc_page()),
        Effect.OVERWRITTEN,
        then,
        phys=table,
        also=("map-empty-nodes",),
    )


SMALL: dict[str, Any] = {"also": ("map-empty-nodes",), "before": ("map-empty-nodes",)}


@breaks("v1-bitmap-size")
def large_ones_expected() -> Break:
    """(Empty) bitmaps that begin where none of a page can give away those of 512 bytes; one alone would be damage."""
    empties = tuple((number * COVERS, 0) for number in (2, 4, 6))
    built = handed_over({"memblock": ORDERS}, empties=empties, **OLD)
    at = element(built, 1)
    data = moved(built.image.read(at, element(built, 4) - at))
    then = (
        "takes the string for its own, misreads every bitmap, and keeps phantom blocks, and gives others away"
    )
    kernel = kernel_named("7.0")
    return Break(built, at, data, Effect.OVERWRITTEN, then, phys=built.tree.root, kernel=kernel, **SMALL)


def moved(elements: bytes) -> bytes:
    """These elements, each beginning a bitmap of 512 bytes further up."""
    size = KHOSER_MEM_BITMAP_PTR.sizeof()
    starts = [int.from_bytes(elements[at : at + 8], "little") for at in range(0, len(elements), size)]
    rest = [elements[at + 8 : at + size] for at in range(0, len(elements), size)]
    return b"".join(u64(start + COVERS // 8) + more for start, more in zip(starts, rest, strict=True))


@breaks("v1-bitmap-size")
def small_ones_expected() -> Break:
    """The same the other way around: what it broke is the sound one here, for a kernel of the other kind."""
    broken = large_ones_expected()
    sound = broken.built.image.read(broken.at, len(broken.data))
    broken.built.image.write(broken.at, broken.data)
    then = "takes the string for its own, misreads every bitmap, and misses most preserved blocks"
    kernel = kernel_named("6.17")
    return replace(broken, data=sound, then=then, kernel=kernel)
