"""Where the kernel's own variables say that its handover is: kernel/liveupdate/kexec_handover.c."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from khodump.abi.kexec_handover import KHO_SCRATCH, KhoScratch
from khodump.abi.layout import dtype_of
from khodump.fdt import MAGIC
from khodump.kernel.btf import Btf
from khodump.kernel.kernel import Kernel
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.members import pointee
from khodump.kernel.objects import Record, StructLayout, struct_layout

_POINTER: Final = 8
_COUNT: Final = 4
#: A region a NUMA node and two more (MAX_NUMNODES is 1024 at most).
_MOST_REGIONS: Final = 4096
#: The table's variables, and from 7.4 on; each has a counter of the same name and this suffix.
_TABLES: Final = ("kho_scratch", "kho_bootmem")
_COUNTER: Final = "{}_cnt"


@dataclass(frozen=True)
class Told:
    """What a variable says.

    Attributes:
        variable: it, such as `kho_out.fdt`.
        at: its own virtual address.
        phys: the physical address that it leads to; 0 where it says that there is nothing.
        guessed: it was read as the first member, for this kernel does not describe its structures; what it leads to
            was seen to be an FDT.
    """

    variable: str
    at: int
    phys: int
    guessed: bool = False


@dataclass(frozen=True)
class ScratchTable:
    """The scratch regions, as this kernel has them.

    Attributes:
        variable: the one that leads to them.
        phys: physical address of the table; 0 where there is none.
        regions: in the table's order; some may have size 0.
    """

    variable: str
    phys: int
    regions: tuple[KhoScratch, ...]


@dataclass(frozen=True)
class HandoverPlaces:
    """What this kernel says of the handover that it prepares, and of the one that it received.

    Attributes:
        outgoing: `kho_out`'s root FDT; 0 where KHO is off, or this is a kdump kernel.
        incoming: `kho_in`'s root FDT; 0 where this kernel was not booted through KHO.
        incoming_scratch: the scratch table that it was booted with.
        scratch: the scratch regions that are in use.
    """

    outgoing: Told | WhyNot
    incoming: Told | WhyNot
    incoming_scratch: Told | WhyNot
    scratch: ScratchTable | WhyNot


def handover_places(kernel: Kernel) -> HandoverPlaces:
    """All of them."""
    return HandoverPlaces(
        _outgoing(kernel),
        _incoming(kernel, "fdt_phys"),
        _incoming(kernel, "scratch_phys"),
        _scratch(kernel),
    )


def _outgoing(kernel: Kernel) -> Told | WhyNot:
    btf = kernel.btf
    if isinstance(btf, WhyNot):
        return _first_member(kernel, "kho_out", "fdt", kernel.memory.phys)
    # Up to 6.18 it is in a structure of its own, and leads to a struct page.
    for path in ("fdt", "ser.fdt"):
        layout = struct_layout(btf, "kho_out", (path,))
        if not isinstance(layout, WhyNot):
            return _pointer(kernel, btf, layout, path)
    return WhyNot(Reason.NO_MEMBER, "this kernel's BTF describes no struct kho_out with an fdt")


def _pointer(kernel: Kernel, btf: Btf, layout: StructLayout, path: str) -> Told | WhyNot:
    record = _static(kernel, layout)
    if isinstance(record, WhyNot):
        return record
    variable, va = f"{layout.name}.{path}", record.number(path)
    if not va:
        return Told(variable, record.address(path), 0)
    is_page = pointee(btf, layout.members[path]) == b"page"
    phys = _page_phys(kernel, va) if is_page else kernel.memory.phys(va)
    return phys.within(variable) if isinstance(phys, WhyNot) else Told(variable, record.address(path), phys)


def _incoming(kernel: Kernel, member: str) -> Told | WhyNot:
    btf = kernel.btf
    if isinstance(btf, WhyNot):
        if member != "fdt_phys":
            return btf
        return _first_member(kernel, "kho_in", member, lambda phys: phys)
    layout = struct_layout(btf, "kho_in", (member,))
    if isinstance(layout, WhyNot):
        return layout
    record = _static(kernel, layout)
    if isinstance(record, WhyNot):
        return record
    return Told(f"kho_in.{member}", record.address(member), record.number(member))


def _static(kernel: Kernel, layout: StructLayout) -> Record | WhyNot:
    """The static variable that has the name of its structure."""
    va = kernel.symbol(layout.name)
    if isinstance(va, WhyNot):
        return va
    data = kernel.memory.symbol_bytes(va, layout.extent)
    return (
        data.within(f"the variable {layout.name}") if isinstance(data, WhyNot) else Record(layout, va, data)
    )


def _first_member(
    kernel: Kernel, variable: str, member: str, where: Callable[[int], int | WhyNot]
) -> Told | WhyNot:
    """The FDT that a variable's first 8 bytes lead to, as in 7.2 and 7.3, if there is one.

    In older kernels something else is first, so that what is there has to be seen.
    """
    path = f"{variable}.{member}"
    va = kernel.symbol(variable)
    value = kernel.variable(variable, _POINTER)
    if isinstance(va, WhyNot):
        return va
    if isinstance(value, WhyNot):
        return value
    phys = where(value) if value else 0
    if isinstance(phys, WhyNot) or not _is_fdt(kernel, phys):
        message = f"where {path} is cannot be told: this kernel does not describe its structures"
        return WhyNot(Reason.NO_BTF, message)
    return Told(path, va, phys, guessed=True)


def _is_fdt(kernel: Kernel, phys: int) -> bool:
    return kernel.memory.space.pages.read(phys, len(MAGIC)) == MAGIC


def _page_phys(kernel: Kernel, page: int) -> int | WhyNot:
    """page_to_pfn() with CONFIG_SPARSEMEM_VMEMMAP, as physical address."""
    # On x86 the line has the value of vmemmap, not the address of a variable.
    vmemmap, size = kernel.info.symbol("vmemmap"), kernel.info.size("page")
    first = 0
    if vmemmap is None:
        vmemmap, first = kernel.info.number("VMEMMAP_START"), kernel.info.number("PHYS_OFFSET") or 0
    if vmemmap is None or not size or page < vmemmap or (page - vmemmap) % size:
        return WhyNot(Reason.NOT_MAPPED, f"the physical page of the struct page at {page:#x} is not known")
    # PHYS_OFFSET may have wrapped around: see `khodump.kernel.arm64`.
    return (first + (page - vmemmap) // size * kernel.page_size) % (1 << 64)


def _scratch(kernel: Kernel) -> ScratchTable | WhyNot:
    for name in _TABLES:
        table, count = kernel.variable(name, _POINTER), kernel.variable(_COUNTER.format(name), _COUNT)
        if isinstance(table, WhyNot) and table.reason is Reason.NO_SYMBOL:
            continue
        if isinstance(table, WhyNot):
            return table
        if isinstance(count, WhyNot):
            return count
        return _other_layout(kernel, name) or _regions(kernel, name, table, count)
    return WhyNot(Reason.NO_SYMBOL, f"this kernel has no variable {' or '.join(_TABLES)}")


def _other_layout(kernel: Kernel, name: str) -> WhyNot | None:
    """Whether this kernel describes the regions in its table otherwise than the ABI that is known."""
    described = struct_layout(kernel.btf, name, ("addr", "size")) if isinstance(kernel.btf, Btf) else None
    if described is None or (isinstance(described, WhyNot) and described.reason is Reason.NO_TYPE):
        return None
    if isinstance(described, WhyNot):
        return described
    known = dtype_of(KHO_SCRATCH.schema).fields
    if known and all(described.offset(member) == known[member][1] for member in ("addr", "size")):
        return None
    return WhyNot(
        Reason.CONTRADICTED, f"this kernel describes struct {name} otherwise than its ABI is known to be"
    )


def _regions(kernel: Kernel, name: str, table: int, count: int) -> ScratchTable | WhyNot:
    if not table:
        return ScratchTable(name, 0, ())
    if count > _MOST_REGIONS:
        return WhyNot(Reason.DAMAGED, f"{name} has {count} regions by its counter, which cannot be")
    phys = kernel.memory.phys(table)
    data = kernel.memory.read(table, count * KHO_SCRATCH.size)
    if isinstance(data, WhyNot):
        return data.within(name)
    if isinstance(phys, WhyNot):
        return phys.within(name)
    starts = range(0, len(data), KHO_SCRATCH.size)
    return ScratchTable(name, phys, tuple(KHO_SCRATCH.parse(data[at:]) for at in starts))
