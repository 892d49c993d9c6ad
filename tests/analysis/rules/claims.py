"""Breaks of the rules of who counts on which memory."""

from __future__ import annotations

from khodump.analysis.rules.rule import Effect
from tests.analysis.rules.blobs import place
from tests.analysis.rules.breaking import FILE, LOGS, ROOT_FDT, Break, bit_of, breaks, flipped, handed_over
from tests.builders.fdt import u64
from tests.builders.users import Memblock, ReserveMem

STATE = "LUO/sessions/0/files/0"


@breaks("claim-not-preserved")
def a_folio() -> Break:
    built = handed_over()
    phys = place(built, f"{STATE}/contents")
    then = 'EIO when token 1 of session "vm" is retrieved'
    log = (f"memfd_luo: Unable to restore folio at physical address: {phys:x}",)
    return Break(built, *bit_of(built, phys, 0), Effect.FILE, then, f"{FILE}/folios", phys, log)


@breaks("claim-not-preserved")
def a_list_of_folios() -> Break:
    built = handed_over()
    phys = place(built, f"{STATE}/folios/chunks")
    then = 'EINVAL when token 1 of session "vm" is retrieved'
    return Break(built, *bit_of(built, phys, 0), Effect.FILE, then, f"{FILE}/folio array chunks", phys)


@breaks("claim-not-preserved")
def a_list_of_sessions() -> Break:
    built = handed_over()
    phys = place(built, "LUO/sessions")
    then = "reuses the memory that LUO/sessions counts on"
    return Break(built, *bit_of(built, phys, 0), Effect.OVERWRITTEN, then, "LUO/sessions", phys)


@breaks("claim-not-preserved")
def part_of_a_region() -> Break:
    built = handed_over()
    owner = 'memblock/reserve_mem "logs"'
    then = f"reuses the memory that {owner} counts on"
    return Break(built, *bit_of(built, 0x20_2000, 0), Effect.OVERWRITTEN, then, owner, 0x20_2000)


@breaks("claimed-twice")
def two_regions() -> Break:
    regions = ReserveMem("logs", 0x20_0000, 0x4000), ReserveMem("more", 0x20_4000, 0x1000)
    built = handed_over({"memblock": Memblock(regions)})
    blob = built.blobs["memblock"]
    at = blob + built.image.read(blob, 4096).index(u64(0x4000))
    then = "restores that memory for the first who asks, and fails the other"
    owner = 'memblock/reserve_mem "logs"'
    return Break(built, *flipped(built, at, 12), Effect.OVERWRITTEN, then, owner, 0x20_4000)


@breaks("unclaimed")
def a_page_of_nobody() -> Break:
    built = handed_over({"memblock": LOGS})
    then = "keeps the memory reserved until somebody restores it"
    return Break(built, *bit_of(built, 0x20_4000, 0), Effect.NONE, then, None, 0x20_4000)


@breaks("stale-incoming")
def its_reader_runs() -> Break:
    """The kernel that took it over hands over in turn, from the same memory; the page of the older FDT is reused."""
    built, later = handed_over({}), handed_over({}, kexec_count=2, metadata_start=16 << 20)
    for start, end in later.image.ranges:
        built.image.write(start, later.image.read(start, end - start))
    at, data = bit_of(built, built.fdt_phys, 0)
    then = "is the one that took this memory over, and has reused it since"
    return Break(built, at, data, Effect.NONE, then, ROOT_FDT, built.fdt_phys)
