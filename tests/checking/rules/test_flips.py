"""No byte of a handover's metadata changes unnoticed: `check` finds it, or it means something else, or nothing reads it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from khodump.abi.block import KHO_BLOCK_HEADER_SER
from khodump.abi.kexec_metadata import KHO_KEXEC_METADATA
from khodump.abi.luo import LUO_FILE_SER, LUO_FLB_HEADER_SER, LUO_FLB_SER, LUO_SESSION_SER
from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER, MEMFD_LUO_SER
from khodump.api import open_leniently
from khodump.checking.checkup import examine
from khodump.errors import KhodumpError
from khodump.fdt import FDT_HEADER
from khodump.handover import Handover
from khodump.opening.mapless import MaplessRoot
from khodump.tables.diff import Diff
from tests.builders.handover import Description, build_handover
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd
from tests.checking.rules.breaking import LOGS

PAGE = 4096
ZEROS = 16  # bytes of zeros to try in a page, beside those next to others
SECONDS = 2.0  # of the processor, for one byte

RELEASE, FLB, TOKEN = "7.3.4-flips", "flb-test", 0x1122334455667788
BUILT = build_handover(
    Description(
        subtrees={
            "memblock": LOGS,
            "LUO": Luo(
                (Session("vm", (LuoFile(TOKEN, Memfd((Folio(0, b"a"), Folio(1, b"b")), seals=3)),)),),
                (Flb(FLB, 0xFEED, 2),),
                7,
            ),
        },
        release=RELEASE,
        metadata_start=0x1_0000,
    )
)
FILE = "LUO/sessions/0/files/0"


class Quiet(NamedTuple):
    """Bytes that nothing reads, or in which these values mean the same as the one that is there."""

    structure: str
    start: int
    stop: int
    why: str
    values: range = range(256)


def at(path: str) -> int:
    return BUILT.places[path][0]


#: Every page that describes the handover, by what is in it.
PAGES = {
    "root FDT": BUILT.fdt_phys,
    "kexec-metadata": BUILT.blobs["kexec-metadata"],
    "memblock FDT": BUILT.blobs["memblock"],
    "LUO": BUILT.blobs["LUO"],
    "sessions": at("LUO/sessions"),
    "files": at("LUO/sessions/0/files"),
    "FLBs": at("LUO/flbs"),
    "memfd": at(FILE),
    "chunk": at(f"{FILE}/folios/chunks"),
    "folios": at(f"{FILE}/folios/blocks"),
    **{f"node {level}.{prefix:x}": phys for (level, prefix), phys in BUILT.tree.nodes.items()},
}


def quiet() -> Iterator[Quiet]:
    """All bytes that nothing reads, by the layout of what is there."""
    for name in ("root FDT", "memblock FDT"):
        yield from quiet_in_fdt(name, PAGES[name])

    def after(name: str, used: int, why: str) -> Quiet:
        return Quiet(name, PAGES[name] + used, PAGES[name] + PAGE, why)

    def after_text(name: str, start: int, size: int, text: str) -> Quiet:
        return Quiet(
            name, PAGES[name] + start + len(text) + 1, PAGES[name] + start + size, "past the NUL of a string"
        )

    block = KHO_BLOCK_HEADER_SER.size
    yield after_text("kexec-metadata", 4, 65, RELEASE)
    yield after("kexec-metadata", KHO_KEXEC_METADATA.size, "past the blob's size")
    yield after_text("LUO", 0, 8, "luo-v5")
    yield after("LUO", 32, "past the blob's size")
    yield after_text("sessions", block, 64, "vm")
    yield after("sessions", block + LUO_SESSION_SER.sizeof(), "past the entries that are counted")
    yield after_text("files", block, 48, "memfd-v2")
    yield after("files", block + LUO_FILE_SER.sizeof(), "past the entries that are counted")
    yield after_text("FLBs", LUO_FLB_HEADER_SER.size, 48, FLB)
    yield after("FLBs", LUO_FLB_HEADER_SER.size + LUO_FLB_SER.sizeof(), "past the entries that are counted")
    yield Quiet("memfd", PAGES["memfd"] + 44, PAGES["memfd"] + 45, "how it was mapped, if known", range(4))
    yield Quiet("memfd", PAGES["memfd"] + 20, PAGES["memfd"] + 24, "flags, of which there are none")
    yield after("memfd", MEMFD_LUO_SER.size, "past the struct")
    yield after("chunk", 24, "past the first empty entry")
    yield after("folios", 2 * MEMFD_LUO_FOLIO_SER.sizeof(), "past the entries that are counted")


def quiet_in_fdt(name: str, phys: int) -> Iterator[Quiet]:
    """What libfdt does not look at: some of the header, the reservations, and what pads names and values."""
    data = BUILT.image.read(phys, PAGE)
    header = FDT_HEADER.parse(data)
    yield Quiet(name, phys + 28, phys + 32, "boot_cpuid_phys")
    yield Quiet(name, phys + header.totalsize, phys + PAGE, "past totalsize")
    if name == "root FDT":  # the kernel looks for no more than its page; a blob's size stands elsewhere, too
        high, low = divmod(header.totalsize, 256)
        assert not high >> 8
        yield Quiet(name, phys + 6, phys + 7, "a totalsize that leaves room", range(high, PAGE >> 8))
        yield Quiet(name, phys + 7, phys + 8, "a totalsize that leaves room", range(low, 256))
    where = header.off_dt_struct
    while (token := int.from_bytes(data[where : where + 4], "big")) != 9:
        end = where + 4
        if token == 1:
            end = data.index(b"\0", where + 4) + 1
        elif token == 3:
            end = where + 12 + int.from_bytes(data[where + 4 : where + 8], "big")
        where = -(-end // 4) * 4
        yield Quiet(name, phys + end, phys + where, "padding of a name or a value")


@dataclass(frozen=True)
class Flip:
    """One byte of another value."""

    at: int
    value: int


QUIET: dict[int, list[range]] = {}
for part in quiet():
    for place in range(part.start, part.stop):
        QUIET.setdefault(place, []).append(part.values)


def is_quiet(flip: Flip) -> bool:
    return any(flip.value in values for values in QUIET.get(flip.at, ()))


def values(byte: int) -> list[int]:
    return sorted({byte ^ 0x01, byte ^ 0x80, 0xFF, 0} - {byte})


def flips(name: str) -> list[Flip]:
    """All bytes of the page that are not zero, the zeros next to them, and some of the others."""
    phys = PAGES[name]
    data = BUILT.image.read(phys, PAGE)
    full = {offset for offset in range(PAGE) if data[offset]}
    beside = {offset + 1 for offset in full} | {offset | 7 for offset in full}
    rest = sorted(set(range(PAGE)) - full - beside)
    tried = sorted(full | {offset for offset in beside if offset < PAGE} | set(rest[:: len(rest) // ZEROS]))
    return [Flip(phys + offset, value) for offset in tried for value in values(data[offset])]


def differ(sound: Handover, suspect: Handover) -> bool:
    """Whether `khodump diff` tells them apart: what is preserved, or what users made of theirs."""
    return Diff(sound, suspect).differ


def noticed(path: Path, sound: Handover) -> bool:
    """Whether the handover in the image is found fault with, refused, or means something else than the sound one."""
    try:
        with open_leniently(path, fdt=BUILT.fdt_phys) as suspect:
            if examine(suspect).diagnoses or isinstance(suspect, MaplessRoot):
                return True
            return differ(sound, suspect)
    except KhodumpError:
        return True


@pytest.fixture
def sound(tmp_path) -> Iterator[Handover]:
    image = BUILT.image.to_raw(tmp_path / "sound.img")
    with open_leniently(image, fdt=BUILT.fdt_phys) as suspect:
        assert isinstance(suspect, Handover)
        assert examine(suspect).diagnoses == ()
        yield suspect


@pytest.mark.parametrize("name", PAGES)
def test_no_flip_goes_unnoticed(name, sound, tmp_path):
    image = BUILT.image.to_raw(tmp_path / "flipped.img")
    missed: list[tuple[int, int, int]] = []
    false: list[tuple[int, int, int]] = []
    slow: list[Flip] = []
    with image.open("r+b") as file:
        for flip in flips(name):
            before = os.pread(file.fileno(), 1, flip.at)
            os.pwrite(file.fileno(), bytes([flip.value]), flip.at)
            started = time.process_time()
            found = noticed(image, sound)
            if time.process_time() - started > SECONDS:
                slow.append(flip)
            os.pwrite(file.fileno(), before, flip.at)
            if found == is_quiet(flip):
                (false if found else missed).append((flip.at - PAGES[name], before[0], flip.value))
    assert (missed, false, slow) == ([], [], [])


WORDS = [(1 << 64) - 1, (1 << 64) - PAGE, PAGES["LUO"]]


@pytest.mark.parametrize("name", PAGES)
def test_no_word_is_too_much(name, sound, tmp_path):
    """Numbers at the ends of their range, and pointers to pages of another kind: whatever they do, it ends well."""
    image = BUILT.image.to_raw(tmp_path / "spoilt.img")
    data = BUILT.image.read(PAGES[name], PAGE)
    with image.open("r+b") as file:
        for offset in range(0, PAGE, 4 if "FDT" in name else 8):
            if not any(data[offset : offset + 8]):
                continue
            for word in WORDS:
                started = time.process_time()
                os.pwrite(file.fileno(), word.to_bytes(8, "little"), PAGES[name] + offset)
                noticed(image, sound)
                assert time.process_time() - started < SECONDS
            os.pwrite(file.fileno(), data[offset : offset + 8], PAGES[name] + offset)


def test_pages_are_all_that_describe_it():
    contents = BUILT.places[f"{FILE}/contents"]
    described = {phys for start, end in BUILT.image.ranges for phys in range(start, end, PAGE)} - set(
        contents
    )
    assert described == set(PAGES.values())
