"""x86-64's address space: arch/x86/include/asm/page_64_types.h, arch/x86/mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from khodump.kernel.addresses import AddressSpace, Linear
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.pagetables import Level, PageTables, Step, TableFormat
from khodump.kernel.physical import PhysicalPages
from khodump.kernel.vmcoreinfo import Vmcoreinfo

#: __START_KERNEL_map, which no option moves: KASLR moves the image within, by phys_base and by its symbols.
_START_KERNEL_MAP: Final = 0xFFFF_FFFF_8000_0000
#: KERNEL_IMAGE_SIZE where VMCOREINFO does not tell it; modules follow.
_KERNEL_IMAGE_SIZE: Final = 1 << 30

_PRESENT: Final = 1
_PSE: Final = 1 << 7
_PFN_MASK: Final = 0x000F_FFFF_FFFF_F000

#: From the root down; the first only with LA57.
_LEVEL_SHIFTS: Final = (48, 39, 30, 21, 12)
_LARGE_SHIFTS: Final = (30, 21)
_SLOTS: Final = 512


@dataclass(frozen=True)
class X86Tables(TableFormat):
    """x86-64's tables.

    Attributes:
        encrypted: the bit that says that memory is encrypted (sme_me_mask); it is no part of an address.
    """

    encrypted: int = 0

    def step(self, entry: int, level: Level) -> Step | None:
        """See `TableFormat.step`."""
        if not entry & _PRESENT:
            return None
        phys = entry & _PFN_MASK & ~self.encrypted
        is_large = level.shift in _LARGE_SHIFTS and bool(entry & _PSE)
        if not is_large and level != self.levels[-1]:
            return Step(phys, is_leaf=False)
        return Step(phys >> level.shift << level.shift, is_leaf=True)


def address_space(info: Vmcoreinfo, pages: PhysicalPages) -> AddressSpace | WhyNot:
    """What VMCOREINFO tells of it; the direct map is known later, from `direct_map`."""
    phys_base = info.number("phys_base")
    root = info.symbol("init_top_pgt") or info.symbol("swapper_pg_dir")
    if phys_base is None or root is None:
        return WhyNot(
            Reason.NO_VMCOREINFO, "VMCOREINFO tells no phys_base, or no page tables, of this x86-64 kernel"
        )
    size = info.number("KERNEL_IMAGE_SIZE") or _KERNEL_IMAGE_SIZE
    image = Linear(_START_KERNEL_MAP, _START_KERNEL_MAP + size, phys_base - _START_KERNEL_MAP)
    top = image.mapping(root)
    if top is None:
        message = f"VMCOREINFO says that the page tables are at {root:#x}, which is not in the kernel's image"
        return WhyNot(Reason.DAMAGED, message)
    five = info.number("pgtable_l5_enabled") == 1
    levels = tuple(Level(shift, _SLOTS) for shift in _LEVEL_SHIFTS[0 if five else 1 :])
    tables = X86Tables(levels, encrypted=info.number("sme_mask") or 0)
    return AddressSpace(pages, PageTables(top.phys, tables), image)


def direct_map(info: Vmcoreinfo, page_offset: int, memory_end: int) -> Linear:
    """The map of all memory.

    Args:
        info: may tell where what follows it begins.
        page_offset: where it begins: the value of page_offset_base, which RANDOMIZE_MEMORY chooses.
        memory_end: where memory ends, by the image; without this, what lies above the map would be taken for a part of it.
    """
    end = page_offset + memory_end
    following = info.number("VMALLOC_START")
    if following is not None and following > page_offset:
        end = min(end, following)
    return Linear(page_offset, end, -page_offset)
