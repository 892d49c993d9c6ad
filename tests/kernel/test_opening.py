from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from khodump.abi.kexec_handover import KhoScratch
from khodump.kernel import HandoverPlaces, Kernel, Reason, Told, WhyNot, handover_places, open_kernel
from khodump.kernel.kallsyms import Kallsyms
from khodump.kernel.proc_kallsyms import ProcKallsyms, read_proc_kallsyms
from tests.builders.kernel.kernel import BuiltKernel, arm64, handing_over, x86
from tests.builders.kernel.machine import Machine
from tests.builders.kernel.structs import STRUCTS, reordered, replaced
from tests.builders.kernel.symbols import Encoding

MACHINES: dict[str, Callable[[], Machine]] = {
    "x86, 4 levels": x86,
    "x86, KASLR": lambda: x86(slide=0x1A00_0000, page_offset=0xFFFF_9C3F_8000_0000),
    "x86, 5 levels": lambda: x86(levels=5, page_offset=0xFF49_A3F8_C000_0000, slide=0x23A0_0000),
    "x86, encrypted": lambda: x86(encrypted=1 << 51),
    "arm64, 4K": arm64,
    "arm64, 4K, 39 bits": lambda: arm64(va_bits=39, used_bits=39, kimage=0xFFFF_FFC0_8000_0000),
    "arm64, 4K, 52 bits": lambda: arm64(va_bits=52, used_bits=52, lpa2=True),
    "arm64, 4K, 52 bits on 48": lambda: arm64(va_bits=52, used_bits=48),
    "arm64, 16K, 48 bits": lambda: arm64(16384, kimage=0xFFFF_C123_8000_0000),
    "arm64, 16K, 47 bits": lambda: arm64(16384, va_bits=47, used_bits=47, kimage=0xFFFF_C123_8000_0000),
    "arm64, 16K, 52 bits on 47": lambda: arm64(16384, va_bits=52, used_bits=47, kimage=0xFFFF_C123_8000_0000),
    "arm64, 64K, 48 bits": lambda: arm64(65536),
    "arm64, 64K, 52 bits on 48": lambda: arm64(65536, va_bits=52, used_bits=48),
    "arm64, 64K, 52 bits": lambda: arm64(65536, va_bits=52, used_bits=52),
    "arm64, 64K, 42 bits": lambda: arm64(65536, va_bits=42, used_bits=42, kimage=0xFFFF_FE00_8000_0000),
}


def refusal(built: BuiltKernel) -> WhyNot:
    with built.opened() as memory:
        answer = open_kernel(memory)
    assert isinstance(answer, WhyNot)
    return answer


def places_of(built: BuiltKernel) -> HandoverPlaces:
    with built.opened() as memory:
        kernel = open_kernel(memory)
        assert isinstance(kernel, Kernel), kernel
        return handover_places(kernel)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("encoding", Encoding)
def test_the_handover_is_found_without_a_search(name, encoding):
    built, fdt = handing_over(MACHINES[name](), encoding=encoding)
    places = places_of(built)
    assert isinstance(places.outgoing, Told)
    assert places.outgoing.phys == fdt
    assert isinstance(places.incoming, Told)
    assert places.incoming.phys == 0x1234000
    assert isinstance(places.incoming_scratch, Told)
    assert places.incoming_scratch.phys == 0x5678000
    assert not isinstance(places.scratch, WhyNot)
    assert places.scratch.regions == (KhoScratch(0x7000_0000, 0x100_0000), KhoScratch(0x1_A000_0000, 0))


@pytest.mark.parametrize("name", MACHINES)
def test_arithmetic_stands_in_for_page_tables_that_the_image_does_not_hold(name):
    built, fdt = handing_over(
        MACHINES[name](), structs=replaced("kho_scratch", *STRUCTS["kho_scratch"], structs=reordered())
    )
    for table in built.machine.tables:
        built.image.drop(table, built.machine.page_size)
    places = places_of(built)
    assert isinstance(places.outgoing, Told)
    assert places.outgoing.phys == fdt


def test_page_tables_decide_over_arithmetic():
    built, fdt = handing_over(x86())
    built.variable("page_offset_base", (0xFFFF_8000_0000_0000).to_bytes(8, "little"))
    places = places_of(built)
    assert isinstance(places.outgoing, Told)
    assert places.outgoing.phys == fdt


def test_a_tagged_pointer_is_followed():
    built, fdt = handing_over(arm64())
    tagged = built.machine.direct(fdt) & ~(0xFF << 56) | 0xF3 << 56
    built.static("kho_out", fdt=tagged)
    places = places_of(built)
    assert isinstance(places.outgoing, Told)
    assert places.outgoing.phys == fdt


def test_page_tables_that_contradict_vmcoreinfo_are_not_taken():
    built, _ = handing_over(x86())
    machine = built.machine
    machine.map(machine.symbol(machine.text), machine.text + (2 << 20), 21)
    assert refusal(built).reason is Reason.CONTRADICTED


@pytest.mark.parametrize("name", ["_stext", "init_uts_ns", "kho_scratch_cnt"])
def test_symbols_that_contradict_vmcoreinfo_are_not_taken(name):
    """A name that damage has lost or made up shifts the addresses of all that follow."""
    built, _ = handing_over(x86())
    built.told[f"SYMBOL({name})"] = f"{built.symbols[name] + 0x1000:x}"
    answer = refusal(built)
    assert answer.reason is Reason.CONTRADICTED
    assert name in answer.message


@pytest.mark.parametrize("name", ["vmemmap", "mem_section"])
def test_lines_that_are_values_contradict_nothing(name):
    built, fdt = handing_over(x86())
    built.variable(name, bytes(8))
    built.told[f"SYMBOL({name})"] = "ffbc093c00000000"
    places = places_of(built)
    assert isinstance(places.outgoing, Told)
    assert places.outgoing.phys == fdt


@pytest.mark.parametrize(
    "told",
    [
        {"NUMBER(phys_base)": "99999999999"},
        {"SYMBOL(kallsyms_names)": "ffffffffc1000000"},
        {"SYMBOL(kallsyms_names)": "1000"},
        {"SYMBOL(init_top_pgt)": "0", "SYMBOL(swapper_pg_dir)": "1000"},
    ],
)
def test_lines_that_lead_nowhere_are_said_to(told):
    built, _ = handing_over(x86())
    built.told |= told
    assert refusal(built).reason in (Reason.UNREADABLE, Reason.NOT_MAPPED, Reason.DAMAGED)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("SYMBOL(kallsyms_offsets)", Reason.NO_KALLSYMS),
        ("SYMBOL(kallsyms_names)", Reason.NO_KALLSYMS),
        ("PAGESIZE", Reason.NO_VMCOREINFO),
        ("NUMBER(phys_base)", Reason.UNKNOWN_MACHINE),
    ],
)
def test_a_missing_line_is_named(line, reason):
    built, _ = handing_over(x86())
    built.told[line] = None
    assert refusal(built).reason is reason


def test_an_image_without_vmcoreinfo_has_no_kernel():
    built, _ = handing_over(x86())
    with built.opened() as memory:
        answer = open_kernel(memory, vmcoreinfo={})
    assert isinstance(answer, WhyNot)
    assert answer.reason is Reason.NO_VMCOREINFO


@pytest.mark.parametrize("page_size", ["0", "-4096", "4095", "8192", "x", "9" * 4000])
def test_a_page_size_that_no_kernel_has_is_refused(page_size):
    built, _ = handing_over(x86())
    built.told["PAGESIZE"] = page_size
    assert refusal(built).reason is Reason.NO_VMCOREINFO


def test_without_kallsyms_all_nothing_is_guessed():
    built, _ = handing_over(x86())
    code = ("_text", "_stext", "kho_init")
    built.omitted = {name for name in built.symbols if name not in code} | {"__start_BTF", "__stop_BTF"}
    answer = refusal(built)
    assert answer.reason is Reason.NO_DATA_SYMBOLS
    assert "do not name its data" in answer.message
    assert "kho_init" not in answer.message


def test_without_kallsyms_all_and_kho_both_are_said():
    built, _ = handing_over(x86())
    built.omitted = {name for name in built.symbols if name not in ("_text", "_stext")}
    answer = refusal(built)
    assert answer.reason is Reason.NO_DATA_SYMBOLS
    assert "nor is kho_init" in answer.message


def test_a_kernel_without_kho_is_called_one():
    built = BuiltKernel(x86())
    built.omitted = {"kho_init"}
    assert refusal(built).reason is Reason.NO_KHO


def test_a_kernel_with_kho_under_other_names_is_not_called_one_without():
    assert refusal(BuiltKernel(x86())).reason is Reason.NO_SYMBOL


def test_symbols_that_the_compiler_renamed_are_found():
    built, fdt = handing_over(x86())
    built.symbols["kho_out.llvm.1234567890"] = built.symbols.pop("kho_out")
    places = places_of(built)
    assert isinstance(places.outgoing, Told)
    assert places.outgoing.phys == fdt


def test_two_symbols_of_one_name_are_not_chosen_between():
    built, _ = handing_over(x86())
    at = built.symbols.pop("kho_out")
    built.symbols |= {"kho_out.llvm.1": at, "kho_out.llvm.2": at + 8}
    assert refusal(built).reason is Reason.AMBIGUOUS


TABLES = ("names", "num_syms", "token_table", "token_index", "offsets")


def without_table(built: BuiltKernel) -> BuiltKernel:
    """With VMCOREINFO that does not lead to the table of symbols."""
    built.told |= {f"SYMBOL(kallsyms_{table})": None for table in TABLES}
    return built


def shown(built: BuiltKernel, path: Path, shift: int = 0) -> Path:
    """As /proc/kallsyms shows the symbols, with one of a module that has the name of the kernel's."""
    rows = (f"{va + shift:016x} d {name}\n" for name, va in built.symbols.items())
    path.write_text("".join(rows) + "ffffffffc0000000 t kho_out\t[module]\n")
    return path


@pytest.mark.parametrize("damaged", [False, True])
def test_what_the_kernel_shows_of_its_symbols_stands_in_for_its_table(tmp_path, damaged):
    built, fdt = handing_over(x86())
    if damaged:
        built.num_syms = 0xFFFF_FFFF
    else:
        without_table(built)
    with built.opened() as memory:
        kernel = open_kernel(memory, proc_kallsyms=shown(built, tmp_path / "kallsyms"))
        assert isinstance(kernel, Kernel)
        places = handover_places(kernel)
    assert isinstance(places.outgoing, Told)
    assert places.outgoing.phys == fdt


def test_a_table_that_can_be_read_is_asked_alone(tmp_path):
    built, _ = handing_over(x86())
    with built.opened() as memory:
        kernel = open_kernel(memory, proc_kallsyms=tmp_path / "none")
        assert isinstance(kernel, Kernel)
        assert isinstance(kernel.symbols, Kallsyms)


def test_symbols_that_the_compiler_renamed_are_found_as_shown(tmp_path):
    built, _ = handing_over(x86())
    built.symbols["kho_out.llvm.12"] = built.symbols.pop("kho_out")
    path = shown(built, tmp_path / "kallsyms")
    symbols = read_proc_kallsyms(path)
    assert isinstance(symbols, ProcKallsyms)
    assert symbols.addresses("kho_out") == [built.symbols["kho_out.llvm.12"]]
    assert symbols.addresses("kho_ou") == []


def refused(built: BuiltKernel, path: Path) -> str:
    """Why neither the table nor what is shown helps."""
    with without_table(built).opened() as memory:
        answer = open_kernel(memory, proc_kallsyms=path)
    assert isinstance(answer, WhyNot)
    assert answer.reason is Reason.NO_KALLSYMS
    return answer.message


def test_hidden_addresses_are_no_addresses(tmp_path):
    built, _ = handing_over(x86())
    path = tmp_path / "kallsyms"
    path.write_text("".join(f"{0:016x} d {name}\n" for name in built.symbols))
    assert "kptr_restrict" in refused(built, path)


def test_symbols_of_another_boot_are_refused(tmp_path):
    built, _ = handing_over(x86())
    assert "another address than VMCOREINFO" in refused(built, shown(built, tmp_path / "kallsyms", 0x20_0000))


@pytest.mark.parametrize("text", [None, "", "no symbols\n"])
def test_without_symbols_shown_that_is_said(tmp_path, text):
    built, _ = handing_over(x86())
    path = tmp_path / "kallsyms"
    if text is not None:
        path.write_text(text)
    assert str(path) in refused(built, path)


def test_arithmetic_does_not_reach_over_the_end_of_memory():
    """What is above the direct map is no part of it, whether or not VMCOREINFO tells where that begins."""
    built, _ = handing_over(x86())
    machine = built.machine
    for table in machine.tables:
        built.image.drop(table, machine.page_size)
    built.static("kho_out", fdt=machine.direct(machine.ram[1] + 4096))
    lack = places_of(built).outgoing
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.UNREADABLE
