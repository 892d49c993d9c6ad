from __future__ import annotations

import pytest

from khodump.abi.kexec_handover import KhoScratch
from khodump.kernel import Reason, Told, WhyNot
from tests.builders.kernel.kernel import arm64, handing_over, x86
from tests.builders.kernel.structs import replaced, without
from tests.builders.kernel.types import PHYS, Nested, Pointer
from tests.kernel.test_opening import places_of


def test_a_kernel_that_hands_nothing_over_says_so():
    built, _ = handing_over(x86())
    built.static("kho_out", fdt=0)
    built.static("kho_in", fdt_phys=0, scratch_phys=0)
    built.variable("kho_scratch", bytes(8))
    places = places_of(built)
    assert isinstance(places.outgoing, Told)
    assert (places.outgoing.variable, places.outgoing.phys) == ("kho_out.fdt", 0)
    assert isinstance(places.incoming, Told)
    assert places.incoming.phys == 0
    assert not isinstance(places.scratch, WhyNot)
    assert (places.scratch.phys, places.scratch.regions) == (0, ())


def test_without_btf_the_first_member_is_taken_where_an_fdt_confirms_it():
    built, fdt = handing_over(x86(), has_btf=False)
    built.static("kho_in", fdt_phys=fdt)
    places = places_of(built)
    for told in (places.outgoing, places.incoming):
        assert isinstance(told, Told)
        assert (told.phys, told.guessed) == (fdt, True)
    assert not isinstance(places.scratch, WhyNot)
    assert isinstance(places.incoming_scratch, WhyNot)


def test_without_btf_and_fdt_nothing_is_told():
    built, fdt = handing_over(x86(), has_btf=False)
    built.image.write(fdt, bytes(64))
    places = places_of(built)
    for lack in (places.outgoing, places.incoming):
        assert isinstance(lack, WhyNot)
        assert lack.reason is Reason.NO_BTF


def test_without_btf_zero_does_not_mean_nothing():
    """In older kernels another member comes first."""
    built, _ = handing_over(x86(), has_btf=False)
    built.static("kho_out", fdt=0)
    assert isinstance(places_of(built).outgoing, WhyNot)


@pytest.mark.parametrize("machine", [x86, arm64])
def test_a_struct_page_leads_to_its_page(machine):
    """Up to 6.18."""
    structs = replaced("kho_out", ("dir", Pointer()), ("ser", Nested("kho_serialization")))
    structs = replaced("kho_serialization", ("fdt", Pointer("page")), structs=structs)
    built, fdt = handing_over(machine(), structs=structs)
    vmemmap = 0xFFFF_FC00_0000_0000
    built.told |= (
        {"SYMBOL(vmemmap)": f"{vmemmap:x}"} if machine is x86 else {"NUMBER(VMEMMAP_START)": f"0x{vmemmap:x}"}
    )
    first = 0 if machine is x86 else built.machine.ram[0]
    built.static("kho_out", ser__fdt=vmemmap + (fdt - first) // 4096 * 64)
    told = places_of(built).outgoing
    assert isinstance(told, Told)
    assert (told.variable, told.phys) == ("kho_out.ser.fdt", fdt)


def test_a_struct_page_of_an_unknown_map_is_not_followed():
    structs = replaced("kho_out", ("ser", Nested("kho_serialization")))
    structs = replaced("kho_serialization", ("fdt", Pointer("page")), structs=structs)
    built, _ = handing_over(x86(), structs=structs)
    built.static("kho_out", ser__fdt=0xFFFF_FC00_0000_0000)
    lack = places_of(built).outgoing
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.NOT_MAPPED


@pytest.mark.parametrize(("struct", "reason"), [("kho_out", Reason.NO_MEMBER), ("kho_in", Reason.NO_TYPE)])
def test_a_missing_type_is_said(struct, reason):
    built, _ = handing_over(x86())
    built.structs = without(struct)
    built.types.structs = built.structs
    places = places_of(built)
    lack = places.outgoing if struct == "kho_out" else places.incoming
    assert isinstance(lack, WhyNot)
    assert lack.reason is reason


def test_the_table_of_a_kernel_that_calls_scratch_bootmem_is_found():
    """The series "kho: rename scratch to bootmem", queued for 7.4."""
    built, _ = handing_over(x86())
    built.symbols["kho_bootmem"] = built.symbols.pop("kho_scratch")
    built.symbols["kho_bootmem_cnt"] = built.symbols.pop("kho_scratch_cnt")
    scratch = places_of(built).scratch
    assert not isinstance(scratch, WhyNot)
    assert scratch.variable == "kho_bootmem"
    assert scratch.regions[0] == KhoScratch(0x7000_0000, 0x100_0000)


def test_a_table_that_counts_more_than_it_can_is_not_read():
    built, _ = handing_over(x86())
    built.variable("kho_scratch_cnt", b"\xff" * 4)
    scratch = places_of(built).scratch
    assert isinstance(scratch, WhyNot)
    assert scratch.reason is Reason.DAMAGED


@pytest.mark.parametrize("pointer", [1, 0xFFFF_8880_7FFF_F000, 0xDEAD_0000_0000_0100, (1 << 64) - 1])
def test_a_pointer_to_nowhere_is_no_handover(pointer):
    built, _ = handing_over(x86())
    built.static("kho_out", fdt=pointer)
    lack = places_of(built).outgoing
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.NOT_MAPPED


def test_regions_that_the_kernel_describes_otherwise_are_not_read():
    structs = replaced("kho_scratch", ("size", PHYS), ("addr", PHYS))
    built, _ = handing_over(x86(), structs=structs)
    scratch = places_of(built).scratch
    assert isinstance(scratch, WhyNot)
    assert scratch.reason is Reason.CONTRADICTED
