"""Breaks of the rules of blobs, and of the chains of pages behind them."""

from __future__ import annotations

from khodump.abi.block import KHO_BLOCK_HEADER_SER, KHO_MAX_BLOCKS, MOST_LOOKED_AT, KhoBlockHeaderSer
from khodump.abi.luo import LUO_HEADER, LUO_SESSION_SER, LuoHeader
from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER
from khodump.checking.rule import Effect
from tests.builders.chains import Writer
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd
from tests.checking.rules.breaking import (
    FILE,
    LOGS,
    PANIC,
    SESSION_FAILS,
    Break,
    bit_of,
    breaks,
    flipped,
    handed_over,
    in_fdt,
    luo,
    pointer_in_fdt,
)

SESSIONS = "LUO/sessions"
SESSION = 'LUO/session "vm"'
CORRUPT = "luo: Block set is corrupted"
PANICS = "panics in luo_core, early in boot"
NO_SESSION = "EIO on every open of /dev/liveupdate: no session can be retrieved"
NOT_RETRIEVED = 'EINVAL when token 1 of session "vm" is retrieved'
ARRAY = "LUO/sessions/0/files/0/folios"
TOTAL_PAGES = 32 + 8  # of struct memfd_luo_ser, and of struct kho_vmalloc in it
LISTED_BY_A_PAGE = 4096 // MEMFD_LUO_FOLIO_SER.sizeof()


def place(built: BuiltHandover, path: str) -> int:
    """The address of the first thing that was written there."""
    return built.places[path][0]


def sizeless(node: str) -> str:
    """What the kernel says of a node without blob-size."""
    return f"KHO: broken KHO subnode '{node}': missing or invalid blob-size property"


@breaks("subtree-incomplete")
def no_size() -> Break:
    built = handed_over({})
    at, data = flipped(built, in_fdt(built, b"blob-size\0"), 0)
    node = "kexec-metadata"
    then = "does not say which kernel came before it"
    return Break(built, at, data, Effect.NONE, then, node, built.blobs[node], (sizeless(node),))


@breaks("subtree-incomplete")
def no_size_of_an_fdt() -> Break:
    """khodump knows how long an FDT is; the kernel does not look."""
    built = handed_over({"memblock": LOGS}, kexec_count=None)
    at, data = flipped(built, in_fdt(built, b"blob-size\0"), 0)
    then, log = "does not revive the reserve_mem regions", (sizeless("memblock"),)
    return Break(built, at, data, Effect.USER, then, "memblock", built.blobs["memblock"], log)


@breaks("subtree-incomplete")
def no_data() -> Break:
    built = handed_over({"LUO": luo()}, kexec_count=None)
    at, data = flipped(built, in_fdt(built, b"preserved-data\0"), 0)
    return Break(built, at, data, Effect.PANIC, PANICS, "LUO", log=(PANIC,))


@breaks("blob-not-preserved")
def its_bit() -> Break:
    built = handed_over()
    phys = built.blobs["kexec-metadata"]
    then = "reuses the pages of the blob before its user reads them"
    return Break(built, *bit_of(built, phys, 0), Effect.OVERWRITTEN, then, "kexec-metadata/blob", phys)


@breaks("blob-unreadable")
def in_a_hole() -> Break:
    built = handed_over()
    built.image.write(1 << 32, b"the dump reaches this far")
    phys = built.blobs["memblock"]
    at, data = flipped(built, pointer_in_fdt(built, phys), 31)
    then = "sees what this image does not hold"
    return Break(built, at, data, Effect.UNKNOWN, then, "memblock", phys ^ 1 << 31)


@breaks("blob-invalid")
def memblocks_magic() -> Break:
    built = handed_over()
    phys = built.blobs["memblock"]
    then = "does not revive the reserve_mem regions"
    return Break(built, *flipped(built, phys, 0), Effect.USER, then, "memblock", phys)


@breaks("blob-incompatible")
def luo_of_no_kernel() -> Break:
    built = handed_over()
    phys = built.blobs["LUO"]
    at, data = flipped(built, phys + 5, 1)
    log = ("luo: LUO state is incompatible with 'luo-v5'", PANIC)
    return Break(built, at, data, Effect.PANIC, PANICS, "LUO", phys, log)


@breaks("blob-incompatible")
def luo_of_another_kernel() -> Break:
    """luo-v4 lists sessions as luo-v5 does; this one has no files."""
    built = handed_over({"LUO": luo()})
    phys = built.blobs["LUO"]
    at, data = flipped(built, phys + 5, 0)
    log = ("luo: LUO state is incompatible with 'luo-v5'", PANIC)
    return Break(built, at, data, Effect.PANIC, PANICS, "LUO", phys, log)


@breaks("blob-incompatible")
def metadata() -> Break:
    built = handed_over()
    phys = built.blobs["kexec-metadata"]
    then = "does not say which kernel came before it"
    return Break(built, *flipped(built, phys, 1), Effect.NONE, then, "kexec-metadata", phys)


@breaks("blob-incompatible")
def memblock() -> Break:
    built = handed_over()
    phys = built.blobs["memblock"]
    at = phys + built.image.read(phys, 4096).index(b"memblock-v1\0")
    then = "does not revive the reserve_mem regions"
    return Break(built, *flipped(built, at, 0), Effect.USER, then, "memblock", phys)


@breaks("blob-too-small")
def luo_of_no_bytes() -> Break:
    """Of its 32 bytes none is left; the kernel asks for the size before the version."""
    built = handed_over()
    phys = built.blobs["LUO"]
    at, data = flipped(built, pointer_in_fdt(built, 32), 5)
    log = ("luo: LUO state is too small (0 < 32)", PANIC)
    return Break(built, at, data, Effect.PANIC, PANICS, "LUO", phys, log)


@breaks("blob-too-small")
def luo_without_its_end() -> Break:
    built = handed_over()
    at = pointer_in_fdt(built, 32)
    log = ("luo: LUO state is too small (31 < 32)", PANIC)
    return Break(built, at, u64(31), Effect.PANIC, PANICS, "LUO", built.blobs["LUO"], log)


@breaks("blob-too-small")
def metadata_without_its_end() -> Break:
    built = handed_over()
    at, data = flipped(built, pointer_in_fdt(built, 73), 0)
    then = "does not say which kernel came before it"
    return Break(built, at, data, Effect.NONE, then, "kexec-metadata", built.blobs["kexec-metadata"])


@breaks("chain-cycle")
def sessions_again() -> Break:
    built = handed_over()
    block = place(built, "LUO/sessions")
    return Break(built, block, u64(block), Effect.PANIC, PANICS, SESSIONS, block, (CORRUPT, PANIC))


@breaks("chain-cycle")
def files_again() -> Break:
    built = handed_over()
    block = place(built, "LUO/sessions/0/files")
    log = (CORRUPT, SESSION_FAILS)
    return Break(built, block, u64(block), Effect.SESSIONS, NO_SESSION, SESSION, block, log)


@breaks("chain-cycle")
def chunks_again() -> Break:
    built = handed_over()
    chunk = place(built, f"{ARRAY}/chunks")
    return Break(built, chunk, u64(chunk), Effect.FILE, NOT_RETRIEVED, FILE, chunk)


@breaks("chain-too-long")
def a_chunk_too_many() -> Break:
    built = handed_over()
    chunk, other = place(built, f"{ARRAY}/chunks"), place(built, f"{ARRAY}/blocks")
    return Break(built, chunk, u64(other), Effect.FILE, NOT_RETRIEVED, FILE, chunk)


class ManySessions:
    """One session a block, in as many blocks as a list may have, and a list of some more that the first does not name."""

    def __init__(self, more: int = 1) -> None:
        self.more = more

    def write(self, writer: Writer) -> bytes:
        """See `User`."""
        blocks = [writer.at("sessions").preserve(order=0) for _ in range(KHO_MAX_BLOCKS + self.more)]
        nexts = [*blocks[1:], 0]
        nexts[KHO_MAX_BLOCKS - 1] = 0
        for number, (block, following) in enumerate(zip(blocks, nexts, strict=True)):
            session = {"name": (b"%d" % number).ljust(64, b"\0"), "files": 0, "count": 0}
            header = KHO_BLOCK_HEADER_SER.build(KhoBlockHeaderSer(following, 1))
            writer.image.write(block, header + LUO_SESSION_SER.build(session))
        return b"luo-v5\0\0" + LUO_HEADER.build(LuoHeader(1, blocks[0], 0))


@breaks("chain-too-long")
def a_block_too_many() -> Break:
    built = handed_over({"LUO": ManySessions()})
    *_, last, more = built.places["LUO/sessions"]
    log = (PANIC,)  # the look for cycles passes, and then there is no room (ENOSPC)
    return Break(built, last, u64(more), Effect.PANIC, PANICS, SESSIONS, last, log, before=("unclaimed",))


@breaks("chain-too-long")
def more_blocks_than_the_look_for_cycles_goes() -> Break:
    built = handed_over({"LUO": ManySessions(MOST_LOOKED_AT - KHO_MAX_BLOCKS + 1)})
    last, more = built.places["LUO/sessions"][KHO_MAX_BLOCKS - 1 : KHO_MAX_BLOCKS + 1]
    log = (CORRUPT, PANIC)
    return Break(built, last, u64(more), Effect.PANIC, PANICS, SESSIONS, last, log, before=("unclaimed",))


@breaks("chain-pointer-unaligned")
def sessions_within_a_page() -> Break:
    built = handed_over()
    block = place(built, "LUO/sessions")
    return Break(built, *flipped(built, block, 3), Effect.PANIC, PANICS, SESSIONS, block, (PANIC,))


@breaks("chain-pointer-unaligned")
def chunks_within_a_page() -> Break:
    built = handed_over()
    state, chunk = place(built, "LUO/sessions/0/files/0"), place(built, f"{ARRAY}/chunks")
    at, data = flipped(built, state + 32, 3)
    return Break(built, at, data, Effect.FILE, NOT_RETRIEVED, FILE, chunk ^ 8)


@breaks("block-count-invalid")
def no_sessions() -> Break:
    built = handed_over()
    block = place(built, "LUO/sessions")
    log = ("luo: Block contains invalid entry count: 0", PANIC)
    return Break(built, *flipped(built, block + 8, 0), Effect.PANIC, PANICS, SESSIONS, block, log)


@breaks("block-count-invalid")
def more_sessions_than_fit() -> Break:
    built = handed_over()
    block = place(built, "LUO/sessions")
    log = ("luo: Block contains invalid entry count: 65", PANIC)
    return Break(built, *flipped(built, block + 8, 6), Effect.PANIC, PANICS, SESSIONS, block, log)


@breaks("block-count-invalid")
def more_files_than_fit() -> Break:
    built = handed_over()
    block = place(built, "LUO/sessions/0/files")
    log = ("luo: Block contains invalid entry count: 65", SESSION_FAILS)
    return Break(built, *flipped(built, block + 8, 6), Effect.SESSIONS, NO_SESSION, SESSION, block, log)


@breaks("block-count-invalid")
def more_flbs_than_fit() -> Break:
    """The page of FLBs is no block, and luo_flb_setup_incoming() takes it on trust."""
    built = handed_over()
    page = place(built, "LUO/flbs")
    return Break(
        built, *flipped(built, page + 8, 6), Effect.UNJUDGED, "takes the list on trust", "LUO/flbs", page
    )


@breaks("vmalloc-count-mismatch")
def pages_too_many() -> Break:
    built = handed_over()
    state, chunk = place(built, "LUO/sessions/0/files/0"), place(built, f"{ARRAY}/chunks")
    at, data = flipped(built, state + TOTAL_PAGES, 1)
    return Break(built, at, data, Effect.FILE, NOT_RETRIEVED, FILE, chunk)


@breaks("vmalloc-invalid")
def unknown_flag() -> Break:
    built = handed_over()
    at, data = flipped(built, place(built, "LUO/sessions/0/files/0") + TOTAL_PAGES + 4, 7)
    return Break(built, at, data, Effect.FILE, NOT_RETRIEVED, FILE)


@breaks("vmalloc-invalid")
def no_order() -> Break:
    built = handed_over()
    at, data = flipped(built, place(built, "LUO/sessions/0/files/0") + TOTAL_PAGES + 6, 6)
    return Break(built, at, data, Effect.FILE, NOT_RETRIEVED, FILE)


@breaks("vmalloc-block-unaligned")
def a_block_within_a_page() -> Break:
    built = handed_over()
    chunk = place(built, f"{ARRAY}/chunks")
    return Break(built, *flipped(built, chunk + 8, 3), Effect.FILE, NOT_RETRIEVED, FILE, chunk)


@breaks("list-page-shared")
def one_page_of_folios_twice() -> Break:
    """The second page of the list becomes the first again."""
    folios = tuple(Folio(index) for index in range(LISTED_BY_A_PAGE + 1))
    built = handed_over({"LUO": Luo((Session("vm", (LuoFile(1, Memfd(folios)),)),))})
    chunk, (first, _) = place(built, f"{ARRAY}/chunks"), built.places[f"{ARRAY}/blocks"]
    return Break(built, chunk + 16, u64(first), Effect.FILE, NOT_RETRIEVED, FILE, chunk)
