"""Breaks of the rules of the preserved-memory map, as radix tree; `chain` has those of the older maps."""

from __future__ import annotations

from khodump.checking.rule import Effect
from khodump.tracker import MAP_OWNER
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover
from tests.builders.radix import geometry_of, write_radix
from tests.builders.users import Memblock, ReserveMem
from tests.checking.rules.breaking import (
    DISABLED,
    FDT_OWNER,
    LOGS,
    Break,
    bit_of,
    breaks,
    flipped,
    handed_over,
    in_fdt,
    leaf_of,
    pointer_in_fdt,
    slot_of,
)

COLD = "boots cold"
NO_MAP = ("KHO: failed to get preserved memory map", DISABLED)
FAULTS = "follows the pointer unchecked and faults in __kho_radix_walk_tree()"
OOPS = ("RIP: 0010:__kho_radix_walk_tree",)
FAR = 0x4000_0000
HUGE = 0x8000_0000


def far_away() -> BuiltHandover:
    """A block of order 1 with nodes of its own, claimed; the FDT's page is elsewhere in the tree."""
    return handed_over({"memblock": Memblock((ReserveMem("logs", FAR, 0x2000),))})


@breaks("map-root-missing")
def root_is_0() -> Break:
    built = handed_over({})
    at = pointer_in_fdt(built, built.tree.root)
    return Break(built, at, u64(0), Effect.COLD_BOOT, COLD, log=(DISABLED,))


@breaks("map-root-missing")
def no_root_property() -> Break:
    built = handed_over({})
    at, data = flipped(built, in_fdt(built, b"preserved-memory-map\0"), 0)
    return Break(built, at, data, Effect.COLD_BOOT, COLD, FDT_OWNER, built.fdt_phys, NO_MAP)


@breaks("map-pointer-unaligned")
def into_a_page() -> Break:
    built = far_away()
    slot = slot_of(built, FAR, 1)
    return Break(built, *flipped(built, slot, 3), Effect.PANIC, FAULTS, phys=slot - slot % 4096, log=OOPS)


@breaks("map-pointer-outside-memory")
def above_all_memory() -> Break:
    built = far_away()
    slot = slot_of(built, FAR, 1, level=2)
    node = int.from_bytes(built.image.read(slot, 8), "little") ^ 1 << 45
    return Break(built, *flipped(built, slot, 45), Effect.PANIC, FAULTS, phys=node, log=OOPS)


@breaks("map-node-unreadable")
def into_a_hole() -> Break:
    built = far_away()
    built.image.write(1 << 32, b"the dump reaches this far")
    slot = slot_of(built, FAR, 1)
    node = leaf_of(built, FAR, 1) ^ 1 << 31
    then = "sees what this image does not hold: what lies below that page is not known"
    return Break(built, *flipped(built, slot, 31), Effect.UNKNOWN, then, phys=node)


@breaks("map-node-shared")
def to_a_leaf_that_has_a_parent() -> Break:
    built = far_away()
    slot, other = slot_of(built, FAR, 1), slot_of(built, built.fdt_phys, 0)
    leaf = built.image.read(other, 8)
    then = "walks the page once for each pointer, and keeps blocks that nobody preserved"
    return Break(built, slot, leaf, Effect.OVERWRITTEN, then, phys=other - other % 4096)


@breaks("map-node-shared")
def back_to_the_root() -> Break:
    built = far_away()
    slot = slot_of(built, FAR, 1)
    then = "walks the page once for each pointer"
    return Break(built, slot, u64(built.tree.root), Effect.OVERWRITTEN, then, phys=slot - slot % 4096)


IMPOSSIBLE = "marks pages that do not exist as preserved, and faults on their struct page"


@breaks("map-key-impossible")
def no_order_bit() -> Break:
    """The leaf of the highest orders, linked though it is empty, has the bit of key 0."""
    built = handed_over({}, empties=((0, 38),))
    leaf = leaf_of(built, 0, 38)
    return Break(
        built, *flipped(built, leaf, 0), Effect.PANIC, IMPOSSIBLE, phys=leaf, before=("map-empty-nodes",)
    )


@breaks("map-key-impossible")
def too_wide() -> Break:
    """The slot of the root that only keys of more than 53 bits take."""
    built = handed_over({})
    at = built.tree.root + 8 * 511
    return Break(built, at, u64(built.tree.root), Effect.PANIC, IMPOSSIBLE, phys=built.tree.root)


@breaks("map-key-impossible")
def memory_that_no_machine_has() -> Break:
    built = handed_over({}, empties=((1 << 52, 0),))
    return Break(
        built, *bit_of(built, 1 << 52, 0), Effect.PANIC, IMPOSSIBLE, phys=1 << 52, before=("map-empty-nodes",)
    )


@breaks("map-depth-16k")
def shallow_tree() -> Break:
    """The image holds both trees of the same blocks; the root pointer says which counts."""
    built = handed_over({}, compatible="kho-v3", page_size=16384, release="7.1.2", metadata_start=4 << 20)
    shallow = write_radix(built.image, geometry_of(16384, counts_marker=False), sorted(built.blocks))
    at = pointer_in_fdt(built, built.tree.root)
    then = "decodes every order-0 key as a huge block elsewhere, and reuses the pages meant"
    return Break(built, at, u64(shallow.root), Effect.OVERWRITTEN, then, phys=shallow.root)


@breaks("map-empty-nodes")
def last_bit_of_a_leaf() -> Break:
    built = handed_over({}, preservations=((FAR, 9),))
    at, data = bit_of(built, FAR, 9)
    leaf = leaf_of(built, FAR, 9)
    return Break(built, at, data, Effect.NONE, "walks over them", phys=leaf, before=("unclaimed",))


@breaks("preserved-overlap")
def two_orders() -> Break:
    built = handed_over({"memblock": LOGS})
    then = "initialises the same pages twice, with two orders"
    return Break(built, *bit_of(built, 0x20_1000, 0), Effect.OVERWRITTEN, then, phys=0x20_1000)


@breaks("preserved-overlap")
def the_trees_own_page() -> Break:
    """Such a page is claimed by nobody besides: the tree's pages are no user's."""
    built = handed_over({"memblock": LOGS})
    root = built.tree.root
    then = "initialises the same pages twice"
    return Break(built, *bit_of(built, root, 0), Effect.OVERWRITTEN, then, phys=root, also=("unclaimed",))


@breaks("order-shift-overflow")
def of_more_pages_than_an_int_counts() -> Break:
    """8 TiB of order 31, of nobody."""
    built = handed_over({}, empties=((1 << 43, 31),))
    then = "counts their pages in 32 bits"
    what = bit_of(built, 1 << 43, 31)
    return Break(
        built, *what, Effect.UNJUDGED, then, phys=1 << 43, also=("unclaimed",), before=("map-empty-nodes",)
    )


@breaks("order-shift-overflow")
def taken_by_7_1() -> Break:
    """One order less is right for it, too: here two blocks of 1 GiB become one of 2 GiB."""
    built = handed_over(
        {"memblock": Memblock((ReserveMem("big", 0x4000_0000, 1 << 30),))},
        empties=((HUGE, 19),),
        compatible="kho-v3",
        release="7.1.0",
    )
    at, data = bit_of(built, HUGE, 19)
    then = "reserves a wrong size for these blocks"
    return Break(
        built,
        at,
        data,
        Effect.OVERWRITTEN,
        then,
        MAP_OWNER,
        HUGE,
        also=("unclaimed",),
        before=("map-empty-nodes",),
    )
