"""Breaks of the rules of scratch regions, which the boot protocol tells of."""

from __future__ import annotations

from khodump.abi.kexec_handover import KHO_SCRATCH
from khodump.checking.rule import Effect
from tests.builders.boot import Entry, kho_data, write_boot_params, write_scratch
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover
from tests.builders.users import Memblock, ReserveMem
from tests.checking.rules.breaking import Asked, Break, breaks, flipped, handed_over

TABLE = 0x9F000
OWNER = "KHO/scratch"
LOGS = 0x200_0000
REGIONS = ((LOGS ^ 1 << 26, 4 << 20), (1 << 30, 16 << 20))


def told() -> BuiltHandover:
    """A handover, and boot_params that name its FDT and its scratch regions."""
    built = handed_over({"memblock": Memblock((ReserveMem("logs", LOGS, 0x4000),))})
    size = write_scratch(built.image, TABLE, REGIONS)
    write_boot_params(built.image, 0x90000, [Entry(0x94000, kho_data(built.fdt_phys, TABLE, size))])
    return built


@breaks("scratch-overlap")
def over_what_is_preserved() -> Break:
    built = told()
    then = "allocates from that region before it has walked the map, and overwrites what lies there"
    at, data = flipped(built, TABLE, 26)
    return Break(built, at, data, Effect.OVERWRITTEN, then, OWNER, LOGS, asked=Asked.BY_SEARCH)


@breaks("scratch-misaligned")
def a_page_on() -> Break:
    built = told()
    at, data = flipped(built, TABLE, 12)
    then = "takes whole pageblocks for scratch, with memory in them that is not"
    phys = REGIONS[0][0] ^ 1 << 12
    return Break(built, at, data, Effect.OVERWRITTEN, then, OWNER, phys, asked=Asked.BY_SEARCH)


@breaks("scratch-misaligned")
def a_size_too_small() -> Break:
    built = told()
    at, data = flipped(built, TABLE + 16 + 8, 12)
    then = "takes whole pageblocks for scratch"
    return Break(built, at, data, Effect.OVERWRITTEN, then, OWNER, REGIONS[1][0], asked=Asked.BY_SEARCH)


@breaks("scratch-wraps")
def a_size_past_the_end() -> Break:
    built = told()
    size_at = TABLE + KHO_SCRATCH.size + 8
    then = "takes whatever memory there is from there on for scratch; none of it is preserved"
    data = u64((1 << 64) - REGIONS[1][0] + 0x1000)
    return Break(built, size_at, data, Effect.UNJUDGED, then, OWNER, REGIONS[1][0], asked=Asked.BY_SEARCH)


@breaks("scratch-wraps")
def a_size_past_the_end_over_what_is_preserved() -> Break:
    built = told()
    then = "takes all memory from there on for scratch, with what is preserved there"
    data = u64(REGIONS[0][0] ^ 1 << 26) + u64((1 << 64) - 1)
    return Break(built, TABLE, data, Effect.OVERWRITTEN, then, OWNER, LOGS, asked=Asked.BY_SEARCH)
