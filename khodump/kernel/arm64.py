"""arm64's address space: arch/arm64/include/asm/memory.h and pgtable-hwdef.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from khodump.kernel.addresses import AddressSpace, Linear
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.pagetables import Level, PageTables, Step, TableFormat
from khodump.kernel.physical import PhysicalPages
from khodump.kernel.vmcoreinfo import Vmcoreinfo

_ADDRESS_SPACE: Final = 1 << 64
_VALID: Final = 1
_TABLE_OR_PAGE: Final = 2
_SHIFT_64K: Final = 16
_LARGEST_VA_BITS: Final = 52
_SMALLEST_VA_BITS: Final = 36
#: VA_BITS_MIN of kernels for 52 bits.
_FEWEST: Final = 48
_FEWEST_16K: Final = 47
_PAGE_16K: Final = 1 << 14


@dataclass(frozen=True)
class Arm64Tables(TableFormat):
    """arm64's tables.

    Attributes:
        page_shift: log2 of the page size.
        is_lpa2: 52-bit addresses with 4K or 16K pages (FEAT_LPA2): bits 51:50 are where others have shareability.
    """

    page_shift: int
    is_lpa2: bool = False

    def step(self, entry: int, level: Level) -> Step | None:
        """See `TableFormat.step`."""
        if not entry & _VALID:
            return None
        phys = self._address(entry)
        if level == self.levels[-1]:
            return Step(phys, is_leaf=True) if entry & _TABLE_OR_PAGE else None
        if entry & _TABLE_OR_PAGE:
            return Step(phys, is_leaf=False)
        return Step(phys >> level.shift << level.shift, is_leaf=True)

    def _address(self, entry: int) -> int:
        """__pte_to_phys(), for each place where the architecture has put the upper bits of an address."""
        if self.is_lpa2:
            low = _bits(entry, self.page_shift, 50)
            return low | _bits(entry, 8, 10) << 42
        low = _bits(entry, self.page_shift, 48)
        if self.page_shift == _SHIFT_64K:  # FEAT_LPA; else these bits are zero
            return low | _bits(entry, 12, 16) << 36
        return low


def _bits(value: int, first: int, end: int) -> int:
    """The bits `first` to `end` (exclusive), in their places."""
    return value & ((1 << end) - (1 << first))


def address_space(info: Vmcoreinfo, pages: PhysicalPages) -> AddressSpace | WhyNot:
    """What VMCOREINFO tells of it, which is all there is."""
    offset, root = info.number("kimage_voffset"), info.symbol("swapper_pg_dir")
    va_bits, phys_offset = info.number("VA_BITS"), info.number("PHYS_OFFSET")
    if offset is None or root is None or va_bits is None or phys_offset is None:
        message = (
            "VMCOREINFO tells no kimage_voffset, VA_BITS, PHYS_OFFSET or page tables of this arm64 kernel"
        )
        return WhyNot(Reason.NO_VMCOREINFO, message)
    if not _SMALLEST_VA_BITS <= va_bits <= _LARGEST_VA_BITS:
        return WhyNot(Reason.DAMAGED, f"VMCOREINFO says VA_BITS={va_bits}, which no arm64 kernel has")
    direct = _direct_map(pages.page_size, va_bits, phys_offset)
    image = Linear(direct.end, _ADDRESS_SPACE, -offset)
    top = image.mapping(root)
    if top is None:
        message = f"VMCOREINFO says that the page tables are at {root:#x}, which is not in the kernel's image"
        return WhyNot(Reason.DAMAGED, message)
    tables = _tables(pages.page_size, va_bits, _used_bits(info, va_bits))
    return AddressSpace(pages, PageTables(top.phys, tables), image, direct=direct, tagged=True)


def _used_bits(info: Vmcoreinfo, va_bits: int) -> int:
    """The bits that the processor translates: fewer than VA_BITS where it lacks what a 52-bit kernel can use."""
    t1sz = info.number("TCR_EL1_T1SZ")
    used = va_bits if t1sz is None else 64 - t1sz
    return used if _SMALLEST_VA_BITS <= used <= va_bits else va_bits


def _tables(page_size: int, va_bits: int, used: int) -> Arm64Tables:
    """ARM64_HW_PGTABLE_LEVELS() and what follows from it.

    A kernel for 52 bits on a processor with fewer leaves out levels that it does not need (4K and 16K pages). Where the
    number of levels stays the same (64K pages), swapper_pg_dir stays as large as for 52 bits, and is indexed as such.
    """
    page_shift = page_size.bit_length() - 1
    table_bits = page_shift - 3
    count = _level_count(used, table_bits)
    width = va_bits if count == _level_count(va_bits, table_bits) else used
    shifts = [page_shift + table_bits * number for number in reversed(range(count))]
    root = Level(shifts[0], 1 << (width - shifts[0]))
    lower = (Level(shift, 1 << table_bits) for shift in shifts[1:])
    is_lpa2 = used == _LARGEST_VA_BITS and page_shift != _SHIFT_64K
    return Arm64Tables((root, *lower), page_shift, is_lpa2)


def _level_count(bits: int, table_bits: int) -> int:
    return (bits - 4) // table_bits


def _direct_map(page_size: int, va_bits: int, phys_offset: int) -> Linear:
    """PAGE_OFFSET to PAGE_END: the lower half of the kernel's addresses, of the fewest bits that it may have to do with.

    PHYS_OFFSET wraps around where a 52-bit kernel runs on a processor with fewer, so that the sum is right all the same.
    """
    fewest = _FEWEST_16K if page_size == _PAGE_16K else _FEWEST
    start = _ADDRESS_SPACE - (1 << va_bits)
    end = _ADDRESS_SPACE - (1 << min(va_bits, fewest) - 1)
    return Linear(start, end, phys_offset - start)
