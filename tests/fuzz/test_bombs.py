"""Small inputs that claim much: what they cost is bounded by the pages that were touched, not by what they claim."""

from __future__ import annotations

import itertools
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from khodump.abi.block import KHO_MAX_BLOCKS
from khodump.abi.luo import LUO_SESSION_SER
from khodump.abi.memfd import COMPATIBLE_V2, MEMFD_LUO_SER, MemfdLuoSer
from khodump.abi.vmalloc import KHO_VMALLOC, KhoVmalloc
from khodump.columns.intervals import Intervals
from khodump.errors import FdtError, ImageError
from khodump.fdt import FDT_HEADER, FdtHeader, parse_fdt
from khodump.memories import elf
from khodump.memories.avml import AvmlFile
from khodump.memories.codecs import unpack_page
from khodump.memories.elf_writer import core_head
from khodump.memories.file import ByteSource
from khodump.memories.kdump import KdumpMemory
from khodump.memories.lime import AVML_MAGIC
from khodump.memory import Hole, Pages, PhysicalMemory, Platform, Presence, Range
from khodump.opening.locate import landmarks
from khodump.owner import Owner
from khodump.subtree import Context
from khodump.subtrees import open_subtrees
from khodump.subtrees.block import read_blocks
from khodump.subtrees.memfd import Memfd, decode_memfd
from khodump.subtrees.vmalloc import open_vmalloc
from khodump.trackers.bitmap_chain import BitmapChainTracker
from khodump.trackers.radix import RadixTracker
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.fdt import u64
from tests.builders.handover import Description, build_handover
from tests.builders.kdump import build_kdump
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Folio
from tests.builders.memfd import Memfd as MemfdToBuild
from tests.builders.memory import MemoryImage, opened
from tests.builders.radix import geometry_of
from tests.fuzz.memory import PAGE, BytesSource, Watched
from tests.transcript import run

_MB = 1 << 20
MADE = 1 << 20


class MadeUpMemory(PhysicalMemory):
    """Memory without end, whose pages are made when they are read."""

    description, platform = "made up", Platform()

    def __init__(self, make: Callable[[int], bytes], end: int = 1 << 60) -> None:
        self._make, self._end = make, end

    @property
    def ranges(self) -> tuple[Range, ...]:
        return (Range(0, self._end, Presence.PRESENT),)

    @property
    def end(self) -> int:
        return self._end

    def read(self, phys: int, size: int) -> bytes | Hole:
        if phys + size > self._end:
            return Hole(phys, Presence.ABSENT)
        pages = range(phys // PAGE, -(-(phys + size) // PAGE))
        return b"".join(self._make(page * PAGE) for page in pages)[phys % PAGE :][:size]

    def gather(self, addresses, size: int) -> Pages:
        data = np.zeros((len(addresses), size), np.uint8)
        presence = np.zeros(len(addresses), np.uint8)
        for row, phys in enumerate(addresses.tolist()):
            page = self.read(phys, size)
            presence[row] = page.presence if isinstance(page, Hole) else Presence.PRESENT
            if not isinstance(page, Hole):
                data[row] = np.frombuffer(page, np.uint8)
        return Pages(data, presence)

    def populated(self) -> Iterator[Range]:
        return iter(self.ranges)

    def close(self) -> None:
        pass


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """The block may allocate so many bytes."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size, f"{peak} bytes"


def test_a_tree_whose_every_slot_points_to_one_page():
    image = MemoryImage(MADE)
    root, page = image.alloc_page(), image.alloc_page()
    image.write(root, u64(page) * 512)
    image.write(page, u64(page) * 512)
    with opened(image) as opened_memory, at_most(2 * _MB):
        memory = Watched(opened_memory)
        walk = RadixTracker(memory, root, geometry_of(PAGE)).walk()
        assert sum(len(batch) for batch in walk) == 0
    assert memory.touched == {root // PAGE, page // PAGE}
    assert memory.bytes_read == 2 * PAGE
    assert len(walk.findings) <= 4


def test_a_tree_of_every_page_there_is():
    """512 tables of 512 pointers to the same 512 pages: a quarter of a million pointers, 1025 visits."""
    image = MemoryImage(MADE)
    root = image.alloc_page()
    tables, below = ([image.alloc_page() for _ in range(512)] for _ in range(2))
    image.write(root, b"".join(map(u64, tables)))
    for table in tables:
        image.write(table, b"".join(map(u64, below)))
    with opened(image) as opened_memory, at_most(64 * _MB):
        memory = Watched(opened_memory)
        list(RadixTracker(memory, root, geometry_of(PAGE)).walk())
    assert memory.bytes_read <= 1025 * PAGE


def endless_blocks(at: int) -> bytes:
    return struct.pack("<QQ", at + PAGE, 1).ljust(PAGE, b"x")


def test_a_list_of_ten_million_blocks():
    memory = Watched(MadeUpMemory(endless_blocks))
    with at_most(2 * PAGE * KHO_MAX_BLOCKS):
        found = read_blocks(Context(memory, PAGE), MADE, LUO_SESSION_SER, "bombs")
    assert len(found.blocks) == KHO_MAX_BLOCKS
    assert len(memory.touched) <= 2 * KHO_MAX_BLOCKS  # as far as the kernel looks for a cycle
    assert found.findings[-1].rule == "chain-too-long"


def test_a_chain_of_chunks_without_end_ends_with_the_memory():
    """Nothing tells how long the chain of kho-v1 may be but the memory that it takes."""
    chunks = 3000

    def endless(at: int) -> bytes:
        return struct.pack("<QII", at + PAGE, 0, 0).ljust(PAGE, b"\0")

    memory = Watched(MadeUpMemory(endless, MADE + chunks * PAGE))
    with at_most(PAGE * chunks):
        tracker = BitmapChainTracker(memory, MADE, PAGE, 512)
        memory.bytes_read = 0
        assert list(tracker.walk())[0:1] == []
    assert memory.bytes_read == chunks * PAGE
    assert len(memory.touched) == chunks


@pytest.mark.parametrize("order", [0, 9, 20, 51])
@pytest.mark.parametrize("end", [1 << 34, 1 << 60])
def test_a_vmalloc_area_of_4_billion_pages(order, end):
    """Its one chunk names one block; the dump says that there is memory, but not what was in it."""
    image = MemoryImage(MADE)
    chunk = image.alloc_page()
    image.write(chunk, u64(0) + u64(1 << 33))
    with opened(image, excluded=[(end // 2, end)]) as opened_memory, at_most(16 * _MB):
        memory = Watched(opened_memory)
        descriptor = KHO_VMALLOC.build(KhoVmalloc(chunk, (1 << 32) - 1, 1, order))
        area = open_vmalloc(Context(memory, PAGE), descriptor, "bomb")
        for _ in area.batches(1 << 62):
            pass
        list(area.keeps(Owner("owner"), "what", 1 << 62))
    assert len(memory.touched) <= 1


@pytest.mark.parametrize("end", [1 << 34, 1 << 60])
@pytest.mark.parametrize("order", [0, 9, 48])
def test_a_memfd_that_counts_2_to_the_60_folios(order, end):
    image = MemoryImage(MADE)
    state, chunk, array = (image.alloc_page() for _ in range(3))
    image.write(chunk, u64(0) + u64(array if not order else 1 << 61))
    descriptor = KHO_VMALLOC.build(KhoVmalloc(chunk, (1 << 32) - 1, 1, order))
    image.write(state, MEMFD_LUO_SER.build(MemfdLuoSer(0, 1 << 62, 0, 0, 1 << 60, descriptor)))
    with opened(image, excluded=[(end // 2, end)]) as opened_memory, at_most(16 * _MB):
        memory = Watched(opened_memory)
        memfd = decode_memfd(Context(memory, PAGE), COMPATIBLE_V2, state, "bomb")
        assert isinstance(memfd, Memfd)
        for _ in memfd.folios():
            pass
        list(memfd.keeps(Owner("owner")))
    assert len(memory.touched) <= 3
    assert memory.bytes_read <= 16 * PAGE


@pytest.mark.parametrize("command", ["sessions", "owners", "subtrees", "check", "inspect"])
def test_a_memfd_of_2_to_the_62_bytes(command, tmp_path):
    luo = Luo((Session("vm", (LuoFile(1, MemfdToBuild((Folio(0, b"a"),), 1 << 62)),)),))
    image = build_handover(Description(subtrees={"LUO": luo})).image.to_elf(tmp_path / "core")
    run(command, image)  # what is imported is not counted
    with at_most(8 * _MB):
        assert run(command, image).status in (0, 1, 4)


def test_thousands_of_sessions_that_share_one_long_list():
    """Each alone is in order; read one by one they would be the product of both numbers, not the sum."""
    luo = Luo(tuple(Session(f"vm-{number}", (LuoFile(0, 0, "x"),) * 3) for number in range(1200)))
    built = build_handover(Description(subtrees={"LUO": luo}))
    blocks = [built.places[f"LUO/sessions/{number}/files"][0] for number in range(1200)]
    for block, following in itertools.pairwise(blocks):
        built.image.write(block, u64(following))  # the list of session 0 is now as long as all
    with opened(built.image) as opened_memory:
        memory = Watched(opened_memory)
        (subtree,) = [
            each for each in open_subtrees(Context(memory, PAGE), parse_fdt(built.fdt)) if each.name == "LUO"
        ]
    assert memory.bytes_read < (2 * 1200 + 100) * PAGE
    shared = [finding for finding in subtree.decoded.findings if finding.rule == "list-page-shared"]
    assert [finding.evidence["count"] for finding in shared] == [1200 - 2]


class Sparse(ByteSource):
    """A file that claims to be large, of which only the head was written."""

    name = "sparse"

    def __init__(self, head: bytes, size: int) -> None:
        self._head, self.size = BytesSource(head), size
        self.bytes_read = 0

    def read_into(self, buffer: memoryview, offset: int) -> int:
        self.bytes_read += len(buffer)
        self._head.read_into(buffer, offset)
        return len(buffer)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("size", [64 * 1024, 1 << 50])
def test_an_elf_with_4_billion_headers(size):
    head = bytearray(build_elf([ElfSegment(0, b"x")], null_headers=0xFFFF)[:200])
    at = head.index(struct.pack("<I", 0xFFFF + 1))  # sh_info
    head[at : at + 4] = b"\xff\xff\xff\xff"
    source = Sparse(bytes(head), size)
    with at_most(_MB), pytest.raises(ImageError, match="claims 4294967295 program headers"):
        elf.segments(source, assume_zero=False)
    assert source.bytes_read < 4096


def test_an_elf_note_of_2_to_the_60_bytes():
    edge = np.zeros(1, np.uint64)
    page, none = Intervals(edge, edge + np.uint64(1)), Intervals(edge[:0], edge[:0])
    data = bytearray(core_head(page, none, machine=None, vmcoreinfo={"A": "b"}))
    struct.pack_into("<QQ", data, 64 + 32, 1 << 60, 1 << 60)
    with at_most(24 * _MB):
        elf.segments(Sparse(bytes(data), 1 << 62), assume_zero=False)


def fdt_of(structure: bytes, size: int) -> bytes:
    header = FdtHeader(0xD00DFEED, size, 56, size, 40, 17, 16, 0, 0, size - 56)
    return (FDT_HEADER.build(header) + bytes(16) + structure).ljust(size, b"\0")


@pytest.mark.parametrize("size", [PAGE, 1 << 16])
@pytest.mark.parametrize(
    "unit", [b"\0\0\0\1\0\0\0\0", b"\0\0\0\1a\0\0\0", b"\0\0\0\4", b"\0\0\0\1a\0\0\0\0\0\0\2"]
)
def test_an_fdt_nested_to_the_end_of_its_page(size, unit):
    data = fdt_of((b"\0\0\0\1\0\0\0\0" + unit * size)[: size - 56], size)
    with at_most(2 * _MB), pytest.raises(FdtError):
        parse_fdt(data)


@pytest.mark.parametrize("blocks", [2, 1 << 30, (1 << 32) - 1])
@pytest.mark.parametrize("size", [32 * 1024, 1 << 60])
def test_a_kdump_whose_bitmap_claims_2_to_the_50_pages(blocks, size):
    dump = bytearray(build_kdump({0: b"x" * PAGE}))
    struct.pack_into("<Q", dump, PAGE + dump[PAGE : 2 * PAGE].rindex(b"\1"), 1 << 50)  # max_mapnr_64
    at = dump.index(struct.pack("<II", PAGE, 1), 400) + 8  # block_size and sub_hdr_size, then bitmap_blocks
    struct.pack_into("<I", dump, at, blocks)
    source = Sparse(bytes(dump), size)
    with at_most(2 * _MB), pytest.raises(ImageError, match=f"claims {1 << 50} pages"):
        KdumpMemory([source], description="bomb")
    assert source.bytes_read < 3 * PAGE


def test_a_kdump_that_claims_more_pages_than_it_has_descriptors():
    """A search looks at what may be in the file, not at every bit of a bitmap that was scribbled on."""
    pages = 1 << 22
    dump = bytearray(build_kdump({0: b"x" * PAGE}, max_mapnr=pages, codec="raw"))
    bitmap = 2 * PAGE + pages // 8
    dump[bitmap + 1 : bitmap + pages // 8] = b"\xff" * (pages // 8 - 1)
    memory = Watched(KdumpMemory([BytesSource(dump)], description="bomb"))
    assert list(landmarks(memory)) == []
    populated = sum(span.end - span.start for span in memory.populated())
    assert populated <= len(dump) // 24 * PAGE
    assert memory.read(0, 1) == b"x"


def test_a_page_that_unpacks_to_a_gigabyte():
    """zlib packs a thousandfold; a page may claim no more than a page of packed bytes, and gives no more than one."""
    with at_most(64 * _MB):
        packed = zlib.compress(bytes(32 * _MB))[:PAGE]
    with at_most(_MB):
        assert unpack_page(packed, 1, PAGE) is None


@pytest.mark.parametrize("codec", ["lzo", "snappy", "zstd"])
def test_other_codecs_stop_at_a_page(codec):
    from tests.builders.kdump import FLAGS, compress  # noqa: PLC0415 - beside its test

    packed, flags = compress(bytes(8 * _MB), codec)
    assert flags == FLAGS[codec]
    with at_most(4 * _MB):
        assert unpack_page(packed[:PAGE], flags, PAGE) is None


def test_an_avml_block_that_claims_everything():
    """A block's size comes from its header, but it is unpacked a chunk at a time."""
    header = struct.pack("<4sIQQQ", AVML_MAGIC, 2, 0, (1 << 62) - 1, 0)
    stream = b"\xff\x06\x00\x00sNaPpY" + b"\0\x08\0\0" + bytes(4) + b"\x80\x80\x04\0"
    data = header + stream + len(stream).to_bytes(8, "little")
    with at_most(4 * _MB):
        file = AvmlFile(BytesSource(data))
        assert file.read(0, 100) == b""
        assert file.read(1 << 50, 100) == b""


@pytest.mark.parametrize(
    "arguments", [("inspect",), ("scan",), ("check",), ("owners",), ("slim", "-o", "OUT")]
)
def test_an_elf_that_says_it_is_of_a_machine_with_all_memory(arguments, tmp_path):
    """One segment claims 2^60 bytes that were left out: searching and walking cost what is there."""
    luo = Luo((Session("vm", (LuoFile(1, MemfdToBuild((Folio(0, b"a"),))),)),))
    built = build_handover(Description(subtrees={"LUO": luo}))
    state = built.places["LUO/sessions/0/files/0"][0]
    chunk = built.places["LUO/sessions/0/files/0/folios/chunks"][0]
    built.image.write(chunk, u64(0) + u64(1 << 61))
    descriptor = KHO_VMALLOC.build(KhoVmalloc(chunk, (1 << 32) - 1, 1, 48))
    built.image.write(state, MEMFD_LUO_SER.build(MemfdLuoSer(0, 1 << 62, 0, 0, 1 << 60, descriptor)))
    image = built.image.to_elf(tmp_path / "core", excluded=[(1 << 40, 1 << 62)])
    words = [arguments[0], image, *(tmp_path / "out" if word == "OUT" else word for word in arguments[1:])]
    with at_most(32 * _MB):
        assert run(*words).status in (0, 1, 4)


def test_assuming_zeros_makes_no_memory(tmp_path):
    """With --assume-zero, 2^61 bytes read as zeros: nothing may want to see them all."""
    built = build_handover(Description())
    image = built.image.to_elf(tmp_path / "core", excluded=[(1 << 40, 1 << 61)])
    for command in ("inspect", "scan", "check", "owners", "subtrees"):
        with at_most(32 * _MB):
            assert run(command, image, "--assume-zero").status in (0, 1, 3, 4)
