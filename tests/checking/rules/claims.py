"""Breaks of the rules of who counts on which memory."""

from __future__ import annotations

from khodump.checking.rule import Effect
from tests.builders.fdt import u64
from tests.builders.memfd import Memfd, folios_of
from tests.builders.users import Memblock, ReserveMem
from tests.checking.rules.blobs import place
from tests.checking.rules.breaking import (
    FDT_OWNER,
    FILE,
    LOGS,
    Break,
    bit_of,
    breaks,
    flipped,
    handed_over,
    luo,
)

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
    owner = 'memblock/reserve_mem "more"'
    return Break(built, *flipped(built, at, 12), Effect.OVERWRITTEN, then, owner, 0x20_4000)


@breaks("claimed-twice")
def one_folio_of_two_files() -> Break:
    """As 6.19 to 7.1 leave it when one memfd is preserved under two tokens; here the page of the other is nobody's."""
    built = handed_over({"LUO": luo(Memfd(folios_of({0: b"a"})), Memfd(folios_of({0: b"b"})))})
    phys = place(built, f"{STATE}/contents")
    entry = built.image.read(place(built, f"{STATE}/folios/entries"), 8)
    then = 'EIO when the second of tokens 1 and 2 of session "vm" is retrieved'
    owner = 'LUO/session "vm"/file 0x2 (memfd)/folios'
    log = (f"memfd_luo: Unable to restore folio at physical address: {phys:x}",)
    at = place(built, "LUO/sessions/0/files/1/folios/entries")
    return Break(built, at, entry, Effect.FILE, then, owner, phys, log, also=("unclaimed",))


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
    return Break(built, at, data, Effect.NONE, then, FDT_OWNER, built.fdt_phys)
