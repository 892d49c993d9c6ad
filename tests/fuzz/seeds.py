"""What mutants are made of: captures of real kernels, and handovers of every form from the builders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from khodump.memories import open_memory
from khodump.memory import Presence
from tests.builders.boot import Entry, kho_data, write_boot_params, write_scratch
from tests.builders.flattened import flatten
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover
from tests.builders.kdump import FLAGS, build_kdump
from tests.builders.lime import build_avml, build_lime
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd, MemfdFormat
from tests.builders.users import KhoTest, Memblock, ReserveMem, User
from tests.captures import CAPTURES, HISTORIC, SAMPLES, Capture
from tests.fuzz.mutators import PAGE

BLOCKS = ((0x4000, 0), (0x40_0000, 9), *((0x60_0000 + at * PAGE, 0) for at in range(70)), (0x1_0000_0000, 4))
HOSTILE_NAME = b"\x1b]0;x\x07\xe2\x80\xae=cmd()\n../../etc/passwd\xc3"


@dataclass(frozen=True)
class Seed:
    """A handover in memory.

    Attributes:
        name: for reports.
        data: its pages, one after the other.
        pages: (physical address, offset in `data`) of each.
        fdt_phys: physical address of its root FDT.
        page_size: bytes, of its kernel.
        machine: as `Platform.machine`.
    """

    name: str
    data: bytes
    pages: tuple[tuple[int, int], ...]
    fdt_phys: int
    page_size: int = PAGE
    machine: str | None = "x86_64"


def _luo(version: int, format_: MemfdFormat = MemfdFormat.V2, array_order: int = 0) -> Luo:
    """Sessions with files of all kinds."""
    folios = (Folio(0, b"first"), Folio(4, b"huge", 2), Folio(9, None), Folio(12, b"last"))
    memfd = Memfd(folios, pos=3, format=format_, array_order=array_order)
    files = (LuoFile(7, memfd), LuoFile(0, 0xABC, "other-v1"))
    return Luo(
        (Session("vm", files), Session("empty"), Session(HOSTILE_NAME)), (Flb("flb", 0xFEED),), 3, version
    )


def _users(
    version: int = 5, format_: MemfdFormat = MemfdFormat.V2, *, inline: bool = False
) -> dict[str, bytes | User]:
    """All users of KHO."""
    return {
        "memblock": Memblock(
            (ReserveMem("trace", 0x4000_0000, 1 << 16), ReserveMem("=1+1", 0x4100_0000, 1 << 12))
        ),
        "LUO": _luo(version, format_, 1 if version == 4 else 0),
        "kho_test": KhoTest((0, 1, 2), inline),
        "unknown": b"whatever",
    }


DESCRIPTIONS = {
    "v4": Description(subtrees=_users(), preservations=BLOCKS, empties=((0x8000_0000, 0),)),
    "v4 16K": Description(page_size=16384, subtrees=_users(4), preservations=((0x4000_0000_0000, 3),)),
    "v4 64K": Description(page_size=65536, subtrees={"LUO": _luo(5)}),
    "v3": Description("kho-v3", subtrees=_users(3, MemfdFormat.V1), preservations=BLOCKS),
    "v3 16K shallow": Description("kho-v3", page_size=16384, counts_marker=False, preservations=BLOCKS[:1]),
    "v2": Description("kho-v2", subtrees=_users(2, MemfdFormat.DRAFT, inline=True), preservations=BLOCKS),
    "built v1a": Description("kho-v1", MapFormat.CHAIN, 512, subtrees=_users(1), preservations=BLOCKS),
    "built v1b": Description("kho-v1", MapFormat.CHAIN, 4096, subtrees=_users(1), preservations=BLOCKS),
    "built v1b 16K": Description("kho-v1", MapFormat.CHAIN, 16384, page_size=16384, preservations=BLOCKS[:1]),
    "order table": Description("kho-v1", MapFormat.ORDER_TABLE, preservations=BLOCKS),
    "order table 16K": Description(
        "kho-v1", MapFormat.ORDER_TABLE, page_size=16384, preservations=((0x4000_0000, 11),)
    ),
    "posted v1": Description("kho-v1", MapFormat.POSTED_RADIX, preservations=BLOCKS),
}


@cache
def built(name: str) -> BuiltHandover:
    """The handover of that description, with what x86's boot protocol tells of it."""
    handover = build_handover(DESCRIPTIONS[name])
    image = handover.image
    boot, entry, table = (image.alloc_page() for _ in range(3))
    size = write_scratch(image, table, ((0x9000_0000, 1 << 20), (0xA000_0000, 1 << 20)))
    write_boot_params(image, boot, [Entry(entry, kho_data(handover.fdt_phys, table, size))])
    return handover


@cache
def pages_of(name: str) -> dict[int, bytes]:
    """The pages of a built handover, by address."""
    image = built(name).image
    return {at: image.read(at, PAGE) for low, high in image.ranges for at in range(low, high, PAGE)}


@cache
def seed(name: str) -> Seed:
    """A built handover, or a capture."""
    captures = CAPTURES | HISTORIC
    if name in captures:
        return _captured(name, captures[name])
    pages = pages_of(name)
    size = DESCRIPTIONS[name].page_size
    places = tuple((phys, at * PAGE) for at, phys in enumerate(pages))
    machine = "x86_64" if size == PAGE else "aarch64"
    return Seed(name, b"".join(pages.values()), places, built(name).fdt_phys, size, machine)


def _captured(name: str, capture: Capture) -> Seed:
    parts: list[bytes] = []
    places: list[tuple[int, int]] = []
    with open_memory([capture.path]) as memory:
        for start, end, presence in memory.ranges:
            if presence is Presence.PRESENT:
                data = memory.read(start, end - start)
                assert isinstance(data, bytes)
                places += [(at, (len(parts) + (at - start) // PAGE) * PAGE) for at in range(start, end, PAGE)]
                parts += [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    return Seed(name, b"".join(parts), tuple(places), capture.fdt_phys)


RADIX = ("v4", "v4 16K", "v4 64K", "v3", "v3 16K shallow", "v2", "posted v1", "kho-test serialized")
CHAINS = ("built v1a", "built v1b", "built v1b 16K", "v1a", "v1b")
ORDER_TABLES = ("order table", "order table 16K", "rfc1")
USERS = ("v4", "v3", "v2", "built v1a", "v4 16K", "v4 64K", "luo-memfd next-out")


def files() -> Iterator[tuple[str, bytes]]:
    """Whole images in every format that khodump reads: (name, bytes)."""
    for name, capture in (CAPTURES | HISTORIC).items():
        yield name, capture.path.read_bytes()
    for path in ("serialized.kdump-zlib", "serialized.kdump-zlib-flat"):
        yield path, (SAMPLES / "captures" / "luo-memfd" / path).read_bytes()
    for path in ("cyclic-sessions.elf", "lost-folio.elf"):
        yield path, (SAMPLES / "synthetic" / path).read_bytes()
    for name in DESCRIPTIONS:
        yield f"{name} as ELF", as_elf(name)
    low = low_pages()
    yield "raw", b"".join(low[at] for at in sorted(low))
    yield "LiME", build_lime(pages_of("v4"))
    yield "AVML", build_avml(pages_of("v4"))
    yield "flattened ELF", flatten(as_elf("v4"), record=65536)
    yield from ((f"kdump {codec}", build_kdump(low, codec=codec)) for codec in sorted(FLAGS))
    yield "flattened kdump", flatten(build_kdump(low), record=65536)


@cache
def low_pages() -> dict[int, bytes]:
    """A handover that lies in 2 MiB of memory, all of it there."""
    handover = build_handover(Description(subtrees={"LUO": _luo(5)}, metadata_start=1 << 16))
    image = handover.image
    return {at: image.read(at, PAGE) for at in range(0, image.ranges[-1][1], PAGE)}


@cache
def as_elf(name: str) -> bytes:
    """A built handover as an ELF core."""
    with TemporaryDirectory() as directory:
        machine = "EM_X86_64" if DESCRIPTIONS[name].page_size == PAGE else "EM_AARCH64"
        return built(name).image.to_elf(Path(directory) / "core", machine=machine).read_bytes()
