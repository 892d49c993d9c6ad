"""A program's memory keeps the contract: bytes or typed holes, whatever drgn makes of them."""

from __future__ import annotations

import subprocess
import sys
from struct import pack

import numpy as np
import pytest

pytest.importorskip("drgn", reason="drgn has no wheel for this machine")

from drgn import FaultError, Object, Program, Type, TypeMember

from khodump.drgn.memory import ProgramMemory
from khodump.errors import ImageError
from khodump.memories import open_memory
from khodump.memory import Hole, Presence, Range
from tests.builders.kdump import build_kdump
from tests.builders.memory import MemoryImage
from tests.captures import CAPTURES, HISTORIC
from tests.drgn import kernel

PAGE = 4096
A, B = b"a" * PAGE, b"b" * PAGE


def image() -> MemoryImage:
    image = MemoryImage(0x10_0000)
    image.write(0x1000, A)
    image.write(0x2000, B)
    image.write(0x8000, A)
    return image


#: VMCOREINFO, without which drgn takes a core for that of a process.
LINES = kernel.vmcoreinfo(MemoryImage(0x10_0000))


@pytest.fixture
def memory(tmp_path):
    path = image().to_elf(tmp_path / "vmcore", excluded=[(0x3000, 0x5000)], vmcoreinfo=LINES)
    return ProgramMemory(kernel.of_core(path))


@pytest.mark.parametrize(
    "path", [capture.path for capture in (*CAPTURES.values(), *HISTORIC.values())], ids=lambda path: path.name
)
def test_a_capture_reads_the_same_through_drgn(path):
    with open_memory([path]) as own:
        through = ProgramMemory(kernel.of_core(path))
        assert (through.ranges, through.end) == (own.ranges, own.end)
        assert list(through.populated()) == list(own.populated())
        for span in own.ranges:
            for phys in (span.start - 8, span.start, span.end - PAGE, span.end - 8):
                assert through.read(max(0, phys), 16) == own.read(max(0, phys), 16)
            assert through.locate(span.start) == own.locate(span.start)
        addresses = np.arange(0, 0x3000 * PAGE, PAGE, dtype=np.uint64)
        got, wanted = through.gather(addresses, PAGE), own.gather(addresses, PAGE)
        assert got.presence.tolist() == wanted.presence.tolist()
        present = got.presence == Presence.PRESENT
        assert (got.data[present] == wanted.data[present]).all()
        through.close()


def test_holes_are_typed_where_drgn_reads_zeros(memory):
    assert memory.read(0x1000, 2 * PAGE) == A + B
    assert memory.read(0x2FF8, 16) == Hole(0x3000, Presence.EXCLUDED)
    assert memory.read(0x4000, 8) == Hole(0x4000, Presence.EXCLUDED)
    assert memory.read(0x5000, 8) == Hole(0x5000, Presence.ABSENT)
    assert memory.read(0, 8) == Hole(0, Presence.ABSENT)
    assert memory.read((1 << 64) - 4, 8) == Hole((1 << 64) - 4, Presence.ABSENT)
    assert memory.hole_at(0x9000, Presence.ABSENT) == "not in the dump"
    assert memory.platform.machine == "x86_64"
    assert memory.platform.vmcoreinfo["OSRELEASE"] == "7.3.4"


def test_pages_come_in_the_order_asked_for(memory):
    pages = memory.gather(np.array([8, 1, 2, 3, 9, 1], np.uint64) * PAGE, PAGE)
    assert pages.presence.tolist() == [
        Presence.PRESENT,
        Presence.PRESENT,
        Presence.PRESENT,
        Presence.EXCLUDED,
        Presence.ABSENT,
        Presence.PRESENT,
    ]
    assert [pages.data[row].tobytes() for row in (0, 1, 2, 5)] == [A, A, B, A]
    assert len(memory.gather(np.zeros(0, np.uint64), PAGE).data) == 0


def test_a_core_that_is_cut_off_says_so(tmp_path):
    path = image().to_elf(tmp_path / "vmcore", vmcoreinfo=LINES)
    path.write_bytes(path.read_bytes()[:-PAGE])
    memory = ProgramMemory(kernel.of_core(path))
    assert memory.read(0x8000, 8) == Hole(0x8000, Presence.TRUNCATED)


def test_a_kdump_says_what_was_filtered(tmp_path):
    path = tmp_path / "vmcore"
    path.write_bytes(build_kdump({0x1000: A, 0x2000: B}, excluded=[0x3000]))
    program = Program(kernel.platform(), vmcoreinfo="".join(f"{key}={line}\n" for key, line in LINES.items()))
    program.set_core_dump(path)
    memory = ProgramMemory(program)
    assert memory.read(0x1000, 2 * PAGE) == A + B
    assert memory.read(0x3000, 8) == Hole(0x3000, Presence.EXCLUDED)
    with pytest.raises(FaultError):
        program.read(0x3000, 8, physical=True)


def test_closing_leaves_the_program_alone(memory):
    memory.close()
    assert memory.read(0x1000, 1) == b"a"


def segment(start: int, size: int, read) -> Program:
    program = Program(kernel.platform())
    program.add_memory_segment(start, size, read, physical=True)
    return program


def test_a_fault_is_a_hole_where_it_happened():
    memory = ProgramMemory(segment(0x1000, 0x1000, lambda _, count, __, ___: bytes(count)))
    assert memory.read(0x1000, 4) == bytes(4)
    assert memory.read(0x1FF0, 0x20) == Hole(0x2000, Presence.ABSENT)
    assert memory.ranges == ()
    assert memory.end == 1 << 52
    assert list(memory.populated()) == []
    assert memory.warnings == ("the program does not say where its RAM is, so it cannot be searched",)
    assert memory.platform.vmcoreinfo == {}


def test_a_fault_inside_ram_is_a_hole_too():
    def fault(address: int, *_: object) -> bytes:
        raise FaultError("poisoned", address)

    memory = ProgramMemory(segment(0, 0x1000, fault), ranges=[(0, 0x1000)])
    assert memory.read(0x10, 4) == Hole(0x10, Presence.ABSENT)


def test_what_the_operating_system_refuses_is_an_error():
    def refuse(*_: object) -> bytes:
        raise PermissionError(1, "Operation not permitted")

    memory = ProgramMemory(segment(0, 0x1000, refuse), ranges=[(0, 0x1000)])
    with pytest.raises(ImageError, match="drgn cannot read a program .* at 0x10: .*Operation not permitted"):
        memory.read(0x10, 4)


RESOURCES = 0x10_0000


def iomem_resource(program: Program) -> Object:
    """The root of the tree of `struct resource` at RESOURCES."""
    number = kernel.u64(program)
    kinds: list[Type] = []

    def link(name: str, offset: int) -> TypeMember:
        return TypeMember(lambda: Object(program, program.pointer_type(kinds[0], 8)), name, offset)

    members = (
        TypeMember(number, "start"),
        TypeMember(number, "end", 64),
        TypeMember(program.pointer_type(program.int_type("char", 1, True), 8), "name", 128),
        link("sibling", 192),
        link("child", 256),
    )
    kinds.append(program.struct_type("resource", 40, members))
    return Object(program, kinds[0], address=kernel.virtual(RESOURCES))


def write_resources(memory: MemoryImage) -> None:
    """Two pieces of RAM, and a device between them, below the root."""
    memory.alloc_page()
    rows = [
        ("", 0, (1 << 64) - 1, None, 1),
        ("System RAM", 0x1000, 0x9FFFF, 2, None),
        ("PCI Bus", 0xA0000, 0xFFFFF, 3, None),
        ("System RAM (kmem)", 0x10_0000, 0x3FF_FFFF, None, None),
    ]
    for row, (name, start, end, *links) in enumerate(rows):
        at, name_at = RESOURCES + 40 * row, RESOURCES + 0x800 + 64 * row
        memory.write(name_at, name.encode() + b"\0")
        pointers = [kernel.virtual(RESOURCES + 40 * link) if link else 0 for link in links]
        memory.write(at, pack("<5Q", start, end, kernel.virtual(name_at), *pointers))


def test_a_kernel_without_a_core_is_asked_for_its_system_ram():
    machine = MemoryImage(RESOURCES)
    write_resources(machine)
    program = kernel.informed(kernel.running(machine), {"iomem_resource": iomem_resource})
    memory = ProgramMemory(program)
    assert memory.ranges == (
        Range(0x1000, 0xA0000, Presence.PRESENT),
        Range(0x10_0000, 0x400_0000, Presence.PRESENT),
    )
    assert memory.warnings == ()
    assert list(memory.populated()) == list(memory.ranges)
    assert memory.read(0xA0000, 1) == Hole(0xA0000, Presence.ABSENT)


def test_khodump_does_not_need_drgn():
    code = "import sys; sys.modules['drgn'] = None; import khodump.drgn, khodump.cli; khodump.open"
    subprocess.run([sys.executable, "-c", code], check=True)
