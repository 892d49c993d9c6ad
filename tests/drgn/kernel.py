"""A kernel as drgn sees one: a core with VMCOREINFO and page tables, and debug information for a few variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import pack

from drgn import Architecture, Object, Platform, PlatformFlags, Program, Type, TypeMember

from khodump.abi.kexec_handover import KHO_SCRATCH, KhoScratch
from tests.builders.handover import BuiltHandover
from tests.builders.memory import MemoryImage

DIRECT_MAP = 0xFFFF_8880_0000_0000
_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
_TABLE, _HUGE = 0x63, 0xE3  # present, writable, accessed, dirty; and a page of 1 GiB
_GIB = 1 << 30

#: What the debug information knows: a variable by name.
Variables = Mapping[str, Callable[[Program], Object]]


def virtual(phys: int) -> int:
    """Where the kernel sees this byte."""
    return DIRECT_MAP + phys


def platform() -> Platform:
    """x86_64."""
    return Platform(Architecture.X86_64, PlatformFlags.IS_64_BIT | PlatformFlags.IS_LITTLE_ENDIAN)


def vmcoreinfo(image: MemoryImage) -> dict[str, str]:
    """The lines of VMCOREINFO that drgn needs, with page tables in `image` that map its first 4 GiB directly."""
    pgd, pud = image.alloc_page(), image.alloc_page()
    image.write(pgd + 8 * (DIRECT_MAP >> 39 & 511), pack("<Q", pud | _TABLE))
    for gib in range(4):
        image.write(pud + 8 * gib, pack("<Q", gib * _GIB | _HUGE))
    return {
        "OSRELEASE": "7.3.4",
        "PAGESIZE": "4096",
        "SYMBOL(swapper_pg_dir)": f"{_KERNEL_MAP + pgd:x}",
        "NUMBER(phys_base)": "0",
        "NUMBER(pgtable_l5_enabled)": "0",
        "KERNELOFFSET": "0",
    }


@dataclass(frozen=True)
class Statics:
    """Where the kernel's variables are, physical."""

    kho_out: int
    kho_in: int
    kho_scratch: int
    kho_scratch_cnt: int


def write_statics(
    image: MemoryImage, *, fdt: int, incoming: int = 0, scratch: tuple[KhoScratch, ...] = ()
) -> Statics:
    """The variables of 7.3's kexec_handover.c in a page of `image`; `fdt` and `incoming` are physical, 0 for none."""
    page, table = image.alloc_page(), image.alloc_page()
    statics = Statics(page, page + 256, page + 512, page + 520)
    image.write(table, b"".join(KHO_SCRATCH.build(region) for region in scratch))
    image.write(statics.kho_out, pack("<Q", virtual(fdt) if fdt else 0))
    image.write(statics.kho_in, pack("<QQ", incoming, table if incoming else 0))
    image.write(statics.kho_scratch, pack("<QI", virtual(table) if scratch else 0, len(scratch)))
    return statics


def variables(statics: Statics) -> dict[str, Callable[[Program], Object]]:
    """The debug information of these variables."""

    def at(phys: int, type_: Callable[[Program], Type]) -> Callable[[Program], Object]:
        return lambda program: Object(program, type_(program), address=virtual(phys))

    return {
        "kho_out": at(statics.kho_out, kho_out_type),
        "kho_in": at(statics.kho_in, _kho_in_type),
        "kho_scratch": at(statics.kho_scratch, pointer),
        "kho_scratch_cnt": at(statics.kho_scratch_cnt, _uint),
        "saved_command_line": command_line,
    }


def pointer(program: Program) -> Type:
    """`void *`."""
    return program.pointer_type(program.void_type(), 8)


def command_line(program: Program) -> Object:
    """By this variable drgn finds out where the direct map is."""
    return Object(program, pointer(program), value=virtual(0))


def u64(program: Program) -> Type:
    """`phys_addr_t`."""
    return program.int_type("unsigned long", 8, False)


def _uint(program: Program) -> Type:
    return program.int_type("unsigned int", 4, False)


def kho_out_type(program: Program) -> Type:
    """`struct kho_out` of 7.3, as far as it matters."""
    return program.struct_type("kho_out", 128, (TypeMember(pointer(program), "fdt"),))


def _kho_in_type(program: Program) -> Type:
    members = (TypeMember(u64(program), "fdt_phys"), TypeMember(u64(program), "scratch_phys", 64))
    return program.struct_type("kho_in", 88, members)


def informed(program: Program, known: Variables) -> Program:
    """The program, with this debug information."""

    def find(program: Program, name: str, *_: object) -> Object | None:
        return known[name](program) if name in known else None

    program.register_object_finder("test", find, enable_index=0)
    return program


def of_core(path: Path) -> Program:
    """A program of a core file."""
    program = Program()
    program.set_core_dump(path)
    return program


def vmcore(built: BuiltHandover, path: Path) -> Program:
    """The machine's vmcore, as drgn opens it; without debug information."""
    lines = vmcoreinfo(built.image)
    return of_core(built.image.to_elf(path, vmcoreinfo=lines))


def running(image: MemoryImage, size: int = 64 << 20) -> Program:
    """The machine while it runs: memory that is nobody's core dump, `size` bytes of it."""
    lines = vmcoreinfo(image)
    program = Program(platform())
    program.add_memory_segment(0, size, lambda _, count, offset, __: image.read(offset, count), physical=True)
    program.set_linux_kernel_custom("".join(f"{key}={value}\n" for key, value in lines.items()), is_live=True)
    return program
