"""Address spaces in the making: page tables that are written entry by entry, and the VMCOREINFO that goes with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from tests.builders.memory import MemoryImage

ALL = (1 << 64) - 1


@dataclass
class Machine(ABC):
    """One machine.

    Attributes:
        image: its memory; the allocator gives pages of RAM.
        text: physical address of the kernel's image.
        image_size: bytes of it that are mapped.
        ram: physical start and end of what the direct map maps.
        root: physical address of the topmost page table.
    """

    image: MemoryImage
    text: int
    image_size: int
    ram: tuple[int, int]
    root: int = 0
    tables: list[int] = field(default_factory=list)

    elf_machine = ""
    page_size = 4096

    @property
    @abstractmethod
    def shifts(self) -> tuple[int, ...]:
        """Of each level, from the root down."""

    @property
    @abstractmethod
    def root_slots(self) -> int:
        """Entries of the root."""

    @abstractmethod
    def leaf(self, phys: int, shift: int) -> int:
        """The entry that maps memory."""

    @abstractmethod
    def table(self, phys: int) -> int:
        """The entry that leads to a table."""

    @abstractmethod
    def symbol(self, phys: int) -> int:
        """Where a physical address of the kernel's image is in the kernel's own addresses."""

    @abstractmethod
    def direct(self, phys: int) -> int:
        """Where a physical address is in the map of all memory."""

    @abstractmethod
    def vmcoreinfo(self) -> dict[str, str]:
        """What the kernel tells of its addresses."""

    def build_tables(self, root: int) -> None:
        """Map the kernel's image, and all RAM."""
        self.root = root
        self.map_range(self.symbol(self.text), self.text, self.image_size)
        start, end = self.ram
        self.map_range(self.direct(start), start, end - start)

    def map_range(self, va: int, phys: int, size: int) -> None:
        """Map by the largest entries that fit."""
        end = va + size
        while va < end:
            shift = next(s for s in self.leaf_shifts if (va | phys) % (1 << s) == 0 and va + (1 << s) <= end)
            self.map(va, phys, shift)
            va += 1 << shift
            phys += 1 << shift

    @property
    def leaf_shifts(self) -> tuple[int, ...]:
        """Levels where memory may be mapped, the largest first."""
        return self.shifts[-2:]

    def map(self, va: int, phys: int, shift: int) -> None:
        """Map one entry of the level of this shift."""
        table = self.root
        for level, below in enumerate(self.shifts):
            slots = self.root_slots if level == 0 else self.page_size // 8
            at = table + (va >> below) % slots * 8
            if below == shift:
                self.image.write(at, self.leaf(phys, shift).to_bytes(8, "little"))
                return
            entry = int.from_bytes(self.image.read(at, 8), "little")
            if not entry:
                fresh = self.image.alloc_page(self.page_size)
                self.tables.append(fresh)
                entry = self.table(fresh)
                self.image.write(at, entry.to_bytes(8, "little"))
            table = self.address(entry)

    @abstractmethod
    def address(self, entry: int) -> int:
        """Where an entry leads."""


@dataclass
class X86(Machine):
    """x86-64.

    Attributes:
        levels: of the page tables.
        slide: of the image's virtual addresses (KASLR).
        page_offset: where the direct map begins (RANDOMIZE_MEMORY).
        encrypted: AMD's bit for encrypted memory, in each entry.
    """

    levels: int = 4
    slide: int = 0
    page_offset: int = 0xFFFF_8880_0000_0000
    encrypted: int = 0

    elf_machine = "EM_X86_64"

    @property
    def shifts(self) -> tuple[int, ...]:
        return (48, 39, 30, 21, 12)[5 - self.levels :]

    @property
    def root_slots(self) -> int:
        return 512

    @property
    def leaf_shifts(self) -> tuple[int, ...]:
        return (30, 21, 12)

    def leaf(self, phys: int, shift: int) -> int:
        return phys | self.encrypted | (0x163 if shift == 12 else 0x1E3) | 1 << 63

    def table(self, phys: int) -> int:
        return phys | self.encrypted | 0x63

    def address(self, entry: int) -> int:
        return entry & 0x000F_FFFF_FFFF_F000 & ~self.encrypted

    def symbol(self, phys: int) -> int:
        return 0xFFFF_FFFF_8100_0000 + self.slide + phys - self.text

    def direct(self, phys: int) -> int:
        return self.page_offset + phys

    def vmcoreinfo(self) -> dict[str, str]:
        phys_base = self.text - (0x0100_0000 + self.slide)
        return {
            "SYMBOL(init_top_pgt)": f"{self.symbol(self.root):x}",
            "SYMBOL(swapper_pg_dir)": f"{self.symbol(self.root):x}",
            "NUMBER(phys_base)": str(phys_base),
            "NUMBER(pgtable_l5_enabled)": str(int(self.levels == 5)),
            "NUMBER(KERNEL_IMAGE_SIZE)": str(1 << 30),
            "NUMBER(sme_mask)": str(self.encrypted),
            "KERNELOFFSET": f"{self.slide:x}",
        }


@dataclass
class Arm64(Machine):
    """arm64.

    Attributes:
        granule: the page size.
        va_bits: that the kernel was built for.
        used_bits: that the processor has.
        kimage: virtual address of the image.
        lpa2: whether entries have the upper bits of addresses where FEAT_LPA2 puts them.
    """

    granule: int = 4096
    va_bits: int = 48
    used_bits: int = 48
    kimage: int = 0xFFFF_8000_8000_0000
    lpa2: bool = False

    elf_machine = "EM_AARCH64"

    def __post_init__(self) -> None:
        self.page_size = self.granule

    @property
    def _page_shift(self) -> int:
        return self.granule.bit_length() - 1

    @property
    def shifts(self) -> tuple[int, ...]:
        shift, step = self._page_shift, self._page_shift - 3
        levels = -(-(self.used_bits - shift) // step)
        return tuple(shift + step * level for level in reversed(range(levels)))

    @property
    def root_slots(self) -> int:
        """64K kernels for 52 bits have a root of 1024 entries, whatever the processor has."""
        bits = self.va_bits if self.granule == 65536 else self.used_bits
        return 1 << bits - self.shifts[0]

    def leaf(self, phys: int, shift: int) -> int:
        kind = 3 if shift == self._page_shift else 1
        return self._entry(phys, 0x0068_0000_0000_0700 if not self.lpa2 else 0x0068_0000_0000_0400) | kind

    def table(self, phys: int) -> int:
        return self._entry(phys, 0x1000_0000_0000_0000) | 3

    def _entry(self, phys: int, flags: int) -> int:
        if self.lpa2:
            return phys & (1 << 50) - 1 | phys >> 50 << 8 | flags
        if self.granule == 65536:
            return phys & (1 << 48) - 1 | phys >> 48 << 12 | flags
        return phys | flags

    def address(self, entry: int) -> int:
        low = entry & (1 << 48) - 1 & ~(self.granule - 1)
        return low | (entry >> 12 & 15) << 48 if self.granule == 65536 else low

    def symbol(self, phys: int) -> int:
        return self.kimage + phys - self.text

    def direct(self, phys: int) -> int:
        return -(1 << self.used_bits) + phys - self.ram[0] & ALL

    def vmcoreinfo(self) -> dict[str, str]:
        start = -(1 << self.va_bits) & ALL
        phys_offset = self.ram[0] - (self.direct(self.ram[0]) - start) & ALL
        return {
            "SYMBOL(swapper_pg_dir)": f"{self.symbol(self.root):x}",
            "NUMBER(VA_BITS)": str(self.va_bits),
            "NUMBER(TCR_EL1_T1SZ)": f"0x{64 - self.used_bits:x}",
            "NUMBER(PHYS_OFFSET)": f"0x{phys_offset:x}",
            "NUMBER(kimage_voffset)": f"0x{self.kimage - self.text & ALL:x}",
            "KERNELOFFSET": "0",
        }
