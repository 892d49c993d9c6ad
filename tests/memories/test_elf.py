from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from khodump.errors import ImageError
from khodump.memories import open_memory
from khodump.memory import Hole, Presence, Range
from tests.builders.elf import QEMU_ROM, ElfSegment, build_elf
from tests.builders.memory import MemoryImage
from tests.captures import CAPTURES

PAGE = 4096
PRESENT, EXCLUDED, TRUNCATED = Presence.PRESENT, Presence.EXCLUDED, Presence.TRUNCATED


def machine() -> MemoryImage:
    image = MemoryImage()
    for phys in (0x0, 0x1000, 0x10_0000, 1 << 32):
        image.write(phys, f"page {phys:#x}".encode())
    return image


@pytest.fixture
def opened(tmp_path):
    """Opens bytes as an image, and closes it in the end."""
    memories = []

    def open_bytes(data: bytes, **options):
        (tmp_path / "core").write_bytes(data)
        memories.append(open_memory([tmp_path / "core"], **options))
        return memories[-1]

    yield open_bytes
    for memory in memories:
        memory.close()


@pytest.mark.parametrize("qemu", [False, True], ids=["plain", "qemu"])
def test_segments_are_placed_by_physical_address(tmp_path, qemu):
    image = machine()
    memory = open_memory([image.to_elf(tmp_path / "core", qemu=qemu)])
    rom = [Range(QEMU_ROM.paddr, 1 << 32, PRESENT)] if qemu else []
    high = Range(QEMU_ROM.paddr if qemu else 1 << 32, (1 << 32) + PAGE, PRESENT)
    assert memory.ranges == (Range(0, 0x2000, PRESENT), Range(0x10_0000, 0x10_1000, PRESENT), high)
    for start, end in image.ranges:
        assert memory.read(start, end - start) == image.read(start, end - start)
    for span in rom:
        assert memory.read(span.start, 4) == b"\xff" * 4
    assert memory.read(0x2000, 1) == Hole(0x2000, Presence.ABSENT)
    assert memory.platform.machine == "x86_64"
    assert "ELF64 core, x86_64" in memory.description
    memory.close()


def test_qemu_layout_is_what_qemu_writes():
    data = build_elf([ElfSegment(0, b"\1" * PAGE)], qemu=True)
    header = struct.unpack_from("<HHIQQQIHHHHHH", data, 16)
    assert header[4:6] == (192, 64), "program headers at 192, section headers at 64"
    assert header[7] == 8, "e_ehsize"
    assert data.index(b"\1" * PAGE) % PAGE, "segments are not page-aligned in the file"


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"qemu": True},
        {"vmcoreinfo": {"PAGESIZE": "4096"}},
        {"null_headers": 3},
        {"machine": "EM_AARCH64"},
    ],
    ids=str,
)
def test_the_builder_writes_what_pyelftools_reads(shape):
    segments = [ElfSegment(0x1000, b"one"), ElfSegment(0x9000, b"two", 0x1000)]
    elf = ELFFile(BytesIO(build_elf(segments, **shape)))
    loads = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
    assert [load["p_paddr"] for load in loads] == [0x1000, 0x9000]
    assert [load.data() for load in loads] == [b"one", b"two"]
    assert [load["p_memsz"] for load in loads] == [3, 0x1000]


@pytest.mark.parametrize("capture", ["luo-memfd serialized", "kho-test serialized"])
def test_captures_read_as_pyelftools_reads_them(capture):
    path = CAPTURES[capture].path
    memory = open_memory([path])
    with path.open("rb") as file:
        loads = [segment for segment in ELFFile(file).iter_segments() if segment["p_type"] == "PT_LOAD"]
        for load in loads:
            assert memory.read(load["p_paddr"], load["p_filesz"]) == load.data()
    assert len(loads) > 2
    assert sum(span.end - span.start for span in memory.ranges) == sum(load["p_filesz"] for load in loads)
    memory.close()


@pytest.mark.parametrize(
    ("code", "name"),
    [("EM_X86_64", "x86_64"), ("EM_AARCH64", "aarch64"), ("EM_RISCV", "EM_RISCV"), (9999, "9999")],
)
def test_machines(opened, code, name):
    assert opened(build_elf([ElfSegment(0, bytes(PAGE))], machine=code)).platform.machine == name


@pytest.mark.parametrize("nulls", [0xFFFD, 0xFFFE, 0xFFFF, 0x11000])
def test_more_segments_than_e_phnum_can_count(opened, nulls):
    data = build_elf([ElfSegment(0x1000, b"one"), ElfSegment(0x9000, b"two")], null_headers=nulls)
    overflown = struct.unpack_from("<H", data, 56)[0] == 0xFFFF
    assert overflown, "e_phnum is PN_XNUM from 65535 headers on"
    memory = opened(data)
    assert (memory.read(0x1000, 3), memory.read(0x9000, 3)) == (b"one", b"two")


def test_an_overflown_count_without_a_section_header_is_refused(opened):
    data = bytearray(build_elf([ElfSegment(0, bytes(PAGE))]))
    struct.pack_into("<H", data, 56, 0xFFFF)
    struct.pack_into("<Q", data, 40, 1 << 40)
    with pytest.raises(ImageError, match="no section header 0"):
        opened(bytes(data))


def test_what_was_filtered_out_is_excluded_and_not_zero(opened):
    core = build_elf([ElfSegment(0x1000, b"\1" * PAGE, 3 * PAGE), ElfSegment(0x4000, bytes(PAGE))])
    memory = opened(core)
    assert memory.ranges == (
        Range(0x1000, 0x2000, PRESENT),
        Range(0x2000, 0x4000, EXCLUDED),
        Range(0x4000, 0x5000, PRESENT),
    )
    assert memory.read(0x1FFF, 2) == Hole(0x2000, EXCLUDED)
    assert memory.read(0x4000, PAGE) == bytes(PAGE), "a page of zeros is present"
    assert memory.read(0x5000, 1) == Hole(0x5000, Presence.ABSENT)
    assert memory.hole_at(0x2000, EXCLUDED) == "excluded from the dump"
    zero = opened(core, assume_zero=True)
    assert zero.ranges == (Range(0x1000, 0x5000, PRESENT),)
    assert zero.read(0x1FFF, 2) == b"\1\0"
    populated = [(span.start, span.end) for span in zero.populated()]
    assert populated == [(0x1000, 0x2000), (0x4000, 0x5000)], "assumed zeros need no scan"


@pytest.mark.parametrize("lost", [1, PAGE, PAGE + 1, 2 * PAGE])
def test_a_core_that_ends_early_is_truncated(opened, lost):
    data = build_elf([ElfSegment(0x1000, b"\1" * PAGE), ElfSegment(0x8000, b"\2" * PAGE, 2 * PAGE)])
    memory = opened(data[:-lost])
    held = 2 * PAGE - lost
    for phys, before in ((0x1000, 0), (0x8000, PAGE)):
        found = memory.read(phys, PAGE)
        there = min(max(held - before, 0), PAGE)
        assert found == (
            Hole(phys + there, TRUNCATED) if there < PAGE else bytes([1 + before // PAGE]) * PAGE
        )
    assert memory.read(0x9000, 1) == Hole(0x9000, EXCLUDED)


def test_overlapping_segments(opened):
    """Bytes win over holes; of two that hold bytes, the first header wins."""
    memory = opened(
        build_elf(
            [
                ElfSegment(0x2000, b"", 4 * PAGE),
                ElfSegment(0x3000, b"\1" * PAGE),
                ElfSegment(0x1000, b"\2" * (2 * PAGE + 8)),
            ]
        )
    )
    assert memory.ranges == (
        Range(0x1000, 0x4000, PRESENT),
        Range(0x4000, 0x6000, EXCLUDED),
    )
    assert memory.read(0x1000, 3 * PAGE) == b"\2" * 2 * PAGE + b"\1" * PAGE


def test_assumed_zeros_never_hide_bytes(opened):
    core = build_elf([ElfSegment(0x1000, b"\1" * PAGE, 3 * PAGE), ElfSegment(0x3000, b"\2" * PAGE)])
    assert opened(core).read(0x3000, PAGE) == b"\2" * PAGE
    memory = opened(core, assume_zero=True)
    assert memory.read(0x1000, 3 * PAGE) == b"\1" * PAGE + bytes(PAGE) + b"\2" * PAGE


def test_vmcoreinfo(opened):
    lines = {"OSRELEASE": "7.3.4", "PAGESIZE": "16384", "NUMBER(x)": "a=b"}
    data = build_elf([ElfSegment(0, bytes(PAGE))], vmcoreinfo=lines, machine="EM_AARCH64")
    assert opened(data).platform.vmcoreinfo == lines
    cut = data[: data.index(b"OSRELEASE") + 14]
    assert opened(cut).platform.vmcoreinfo == {"OSRELEASE": "7.3."}, (
        "a note that is cut off gives what is there"
    )
    assert opened(build_elf([ElfSegment(0, bytes(PAGE))])).platform.vmcoreinfo == {}


def test_segments_without_a_physical_address_are_left_out(opened):
    memory = opened(build_elf([ElfSegment((1 << 64) - 1, b"\1"), ElfSegment(0x1000, b"\2")]))
    assert memory.ranges == (Range(0x1000, 0x1001, PRESENT),)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda d: d[:4] + b"\1" + d[5:], "64-bit little-endian"),
        (lambda d: d[:5] + b"\2" + d[6:], "64-bit little-endian"),
        (lambda d: d[:30], "ends inside its ELF header"),
        (lambda d: d[:100], "ends inside its program headers"),
        (lambda d: d[:54] + b"\x10\0" + d[56:], "headers of 16 bytes"),
    ],
)
def test_damaged_headers_are_refused(opened, damage, says):
    data = build_elf([ElfSegment(0, bytes(PAGE)), ElfSegment(0x2000, bytes(PAGE))])
    with pytest.raises(ImageError, match=says):
        opened(damage(data))


@pytest.mark.parametrize(
    ("segments", "shape", "says"),
    [
        ([ElfSegment(0, b"\1")], {"elf_type": "ET_EXEC"}, "not a core file"),
        ([ElfSegment(0, b"\1"), ElfSegment(0, b"\2")], {}, "no physical addresses"),
        ([ElfSegment((1 << 64) - PAGE, b"", 2 * PAGE)], {}, "wraps around"),
    ],
)
def test_cores_that_cannot_be_placed_are_refused(opened, segments, shape, says):
    with pytest.raises(ImageError, match=says):
        opened(build_elf(segments, **shape))


def test_a_core_without_segments_holds_nothing(opened):
    memory = opened(build_elf([]))
    assert (memory.ranges, memory.end, list(memory.populated())) == ((), 0, [])
    assert memory.read(0, 1) == Hole(0, Presence.ABSENT)
    pages = memory.gather(np.array([0, 1], np.uint64) * PAGE, PAGE)
    assert pages.presence.tolist() == [Presence.ABSENT] * 2
