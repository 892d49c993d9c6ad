"""The kernel's variables lead to its handover; without them, or where they lead nowhere, its memory is searched."""

from __future__ import annotations

import pytest

pytest.importorskip("drgn", reason="drgn has no wheel for this machine")

from drgn import Object, TypeMember

import khodump
import khodump.drgn
from khodump.abi.kexec_handover import KhoScratch
from khodump.errors import NoHandoverError, UsageError
from khodump.opening.mapless import MaplessRoot
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.captures import CAPTURES, HISTORIC
from tests.drgn import kernel

SCRATCH = (KhoScratch(0x100_0000, 0x100_0000), KhoScratch(0x200_0000, 0x80_0000))
IMAGES = [capture.path for capture in (*CAPTURES.values(), *HISTORIC.values())]


@pytest.fixture
def built() -> BuiltHandover:
    return build_handover(Description(preservations=((0x40_0000, 9), (0x90_0000, 0))))


def decoy(built: BuiltHandover) -> int:
    """A second root FDT, which a search would not take: nothing of it is in a map."""
    phys = built.image.alloc_page()
    built.image.write(phys, built.fdt)
    return phys


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_capture_says_the_same_through_drgn(image):
    version = "kho-v4" if "fail-compat/serialized" in str(image) else None  # it says kho-v9
    with (
        khodump.open(image, version=version) as own,
        khodump.drgn.open(kernel.of_core(image), version=version) as through,
    ):
        assert through.fdt.phys == own.fdt.phys
        assert through.version == own.version
        assert list(through.preserved) == list(own.preserved)
        assert through.findings == own.findings
        assert [node.name for node in through.subtrees] == [node.name for node in own.subtrees]
        assert through.memory.ranges == own.memory.ranges
        assert through.memory.platform.machine == own.memory.platform.machine
        assert through.notes[0] == (
            "kho_out.fdt is not to be had (could not find 'kho_out'); searched the memory instead"
        )


def test_a_vmcore_is_asked_and_not_searched(built, tmp_path):
    fdt = decoy(built)
    statics = kernel.write_statics(built.image, fdt=fdt, scratch=SCRATCH)
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), kernel.variables(statics))

    def progress(done: int, total: int) -> None:
        pytest.fail(f"searched {done} of {total} bytes")

    with khodump.drgn.open(program, progress=progress) as handover:
        assert handover.fdt.phys == fdt
        assert handover.fdt.source == "kho_out.fdt"
        assert handover.notes == (f"took the root FDT at {fdt:#x}, from kho_out.fdt",)
        assert set(handover.preserved) == built.blocks
        assert handover.scratch == SCRATCH
        assert handover.memory.platform.vmcoreinfo["OSRELEASE"] == "7.3.4"
    assert program.read(fdt, 4, physical=True) == b"\xd0\x0d\xfe\xed"  # the program lives on


def test_a_running_kernel_is_asked(built):
    statics = kernel.write_statics(built.image, fdt=built.fdt_phys, scratch=SCRATCH)
    program = kernel.informed(kernel.running(built.image), kernel.variables(statics))
    with khodump.drgn.open(program) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert set(handover.preserved) == built.blocks
        assert handover.scratch == SCRATCH


def test_what_a_kernel_received_is_another_handover(built, tmp_path):
    fdt = decoy(built)
    statics = kernel.write_statics(built.image, fdt=built.fdt_phys, incoming=fdt, scratch=SCRATCH)
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), kernel.variables(statics))
    with khodump.drgn.open(program, incoming=True) as handover:
        assert (handover.fdt.phys, handover.fdt.source) == (fdt, "kho_in.fdt_phys")
        assert handover.scratch == SCRATCH
    with khodump.drgn.open(program) as handover:
        assert handover.fdt.phys == built.fdt_phys


def test_a_search_or_an_address_can_be_asked_for(built, tmp_path):
    fdt = decoy(built)
    statics = kernel.write_statics(built.image, fdt=fdt)
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), kernel.variables(statics))
    with khodump.drgn.open(program, search=True) as handover:
        assert handover.fdt.phys == built.fdt_phys
    with khodump.drgn.open(program, fdt=built.fdt_phys) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert handover.scratch is None


@pytest.mark.parametrize(("incoming", "variable"), [(False, "kho_out.fdt"), (True, "kho_in.fdt_phys")])
def test_a_kernel_without_a_handover_is_not_searched(built, tmp_path, incoming, variable):
    statics = kernel.write_statics(built.image, fdt=0)
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), kernel.variables(statics))
    with pytest.raises(NoHandoverError, match=f"{variable} is 0"):
        khodump.drgn.open(program, incoming=incoming)


def test_kernels_up_to_6_18_name_a_struct_page(built, tmp_path):
    """vmemmap[n] is the page of frame n, 64 bytes."""
    vmemmap = 0xFFFF_EA00_0000_0000

    def page_type(program):
        return program.struct_type("page", 64, (TypeMember(kernel.u64(program), "flags"),))

    def page(program, frame):
        return Object(program, program.pointer_type(page_type(program), 8), value=vmemmap + 64 * frame)

    def kho_out(program):
        frame = page(program, built.fdt_phys >> 12)
        ser = program.struct_type("kho_serialization", 8, (TypeMember(frame.type_, "fdt"),))
        outer = program.struct_type("kho_out", 64, (TypeMember(ser, "ser", 128),))
        return Object(program, outer, value={"ser": {"fdt": frame.value_()}})

    def phys_addr_t(program, _kinds, name, _filename):
        return program.typedef_type("phys_addr_t", kernel.u64(program)) if name == "phys_addr_t" else None

    known = {"kho_out": kho_out, "vmemmap": lambda program: page(program, 0)}
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), known)
    program.register_type_finder("test", phys_addr_t, enable_index=0)
    with khodump.drgn.open(program) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert handover.fdt.source == "kho_out.fdt"


def wrong_int(program):
    return Object(program, kernel.u64(program), value=1)


def wrong_struct(program):
    other = program.struct_type("kho_out", 8, (TypeMember(kernel.u64(program), "something"),))
    return Object(program, other, value={"something": 1})


def struct_for_pointer(program):
    inner = program.struct_type("inner", 8, (TypeMember(kernel.u64(program), "x"),))
    outer = program.struct_type("kho_out", 8, (TypeMember(inner, "fdt"),))
    return Object(program, outer, value={"fdt": {"x": 1}})


def out_of_the_dump(program):
    return Object(program, kernel.kho_out_type(program), address=kernel.virtual(3 << 30))


def no_address(program):
    return Object(program, kernel.kho_out_type(program), value={"fdt": 0x1234})


WRONG = {
    "an integer": wrong_int,
    "another struct": wrong_struct,
    "a struct for a pointer": struct_for_pointer,
    "a variable outside the dump": out_of_the_dump,
}


@pytest.mark.parametrize("kho_out", WRONG.values(), ids=WRONG.keys())
def test_a_variable_of_no_use_is_said_and_the_memory_searched(built, tmp_path, kho_out):
    known = {"kho_out": kho_out, "saved_command_line": kernel.command_line}
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), known)
    with khodump.drgn.open(program) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert str(handover.notes[0]).startswith("kho_out.fdt is not to be had (")
        assert str(handover.notes[0]).endswith("); searched the memory instead")


def test_a_pointer_that_cannot_be_translated_is_said_and_the_memory_searched(built, tmp_path):
    statics = kernel.write_statics(built.image, fdt=built.fdt_phys, scratch=SCRATCH)
    known = kernel.variables(statics)
    del known["saved_command_line"]  # and there is no init_mm either
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), known)
    with khodump.drgn.open(program) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert str(handover.notes[0]).endswith("searched the memory instead")
        assert handover.scratch is None


def test_a_wild_pointer_is_no_handover(built, tmp_path):
    known = {"kho_out": no_address, "saved_command_line": kernel.command_line}
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), known)
    with pytest.raises(NoHandoverError, match="cannot read a root FDT"):
        khodump.drgn.open(program)


def test_a_broken_handover_can_be_looked_at(built, tmp_path):
    built.image.write(built.fdt_phys + 8, b"\xff" * 8)
    statics = kernel.write_statics(built.image, fdt=built.fdt_phys)
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), kernel.variables(statics))
    with khodump.drgn.open_leniently(program) as suspect:
        assert isinstance(suspect, MaplessRoot)
        assert suspect.phys == built.fdt_phys


def test_an_argument_that_makes_no_sense_leaves_nothing_open(built, tmp_path):
    program = kernel.vmcore(built, tmp_path / "vmcore")
    with pytest.raises(UsageError, match="no kernel has pages of 5 bytes"):
        khodump.drgn.open(program, page_size=5)


def test_a_program_that_does_not_say_where_its_ram_is_is_told(built):
    program = kernel.running(built.image)
    with pytest.raises(NoHandoverError):
        khodump.drgn.open(program)
    with khodump.drgn.open(program, ranges=[(0, 64 << 20)]) as handover:
        assert handover.fdt.phys == built.fdt_phys
