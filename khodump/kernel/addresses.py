"""From the kernel's virtual addresses to physical ones.

Three ways. The kernel's own image lies at a fixed distance, which VMCOREINFO tells; that is how its symbols are read.
For all other pointers the kernel's page tables decide, as they do for the processor. Where the image of memory does not
hold the tables, as where a dump was reduced, the arithmetic of the direct map and of the kernel's image stands in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from khodump.abi.kexec_handover import MAX_PHYS_BITS
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.pagetables import Mapping, NotMapped, PageTables
from khodump.kernel.physical import PhysicalPages
from khodump.memory import Hole

_ADDRESS_SPACE: Final = 1 << 64


@dataclass(frozen=True)
class Linear:
    """Virtual addresses that lie at one distance from the physical ones.

    Attributes:
        start, end: virtual bytes, end exclusive.
        distance: what is added to a virtual address, modulo 2**64, to give the physical one.
    """

    start: int
    end: int
    distance: int

    def mapping(self, va: int) -> Mapping | None:
        """Where `va` lies; None where this does not tell, or no memory can be."""
        phys = (va + self.distance) % _ADDRESS_SPACE
        if not self.start <= va < self.end or phys >> MAX_PHYS_BITS:
            return None
        return Mapping(phys, self.end - va)


@dataclass(frozen=True)
class AddressSpace:
    """One kernel's address space.

    Attributes:
        pages: the physical memory.
        tables: its page tables.
        image: where the addresses lie that its image may have; modules may have some of them, too.
        bounded_image: the same between its first and last symbol; None as long as they are not known.
        direct: its map of all memory by arithmetic; None where nothing tells.
        tagged: whether the top byte of a pointer may be a tag, which the processor ignores.
    """

    pages: PhysicalPages
    tables: PageTables
    image: Linear
    bounded_image: Linear | None = None
    direct: Linear | None = None
    tagged: bool = False

    def of_symbol(self, va: int) -> Mapping | WhyNot:
        """Where an address in the kernel's image lies."""
        told = self.image.mapping(va)
        if told is None:
            message = f"the address {va:#x} is not in the kernel's image"
            return WhyNot(Reason.NOT_MAPPED, message)
        return told

    def of_pointer(self, va: int) -> Mapping | WhyNot:
        """Where a pointer leads."""
        va = self._untagged(va)
        if va >> 63 == 0:
            message = f"the pointer {va:#x} leads to no kernel address"
            return WhyNot(Reason.NOT_MAPPED, message)
        walked = self.tables.walk(self.pages, va)
        if isinstance(walked, Mapping):
            return walked
        if isinstance(walked, NotMapped):
            message = f"the pointer {va:#x} leads to an address that the kernel's page tables do not map"
            return WhyNot(Reason.NOT_MAPPED, message)
        return self._by_arithmetic(va) or self._unreadable(va, walked)

    def disputed(self, va: int) -> WhyNot | None:
        """Whether the page tables contradict what VMCOREINFO says of `va`, an address in the kernel's image."""
        told = self.of_symbol(va)
        walked = self.tables.walk(self.pages, va)
        if isinstance(told, WhyNot):
            return told
        if not isinstance(walked, Mapping) or walked.phys == told.phys:
            return None
        message = (
            f"VMCOREINFO says that the kernel's {va:#x} lies at {told.phys:#x}, "
            f"but its page tables say {walked.phys:#x}: they are not of one kernel, or damaged"
        )
        return WhyNot(Reason.CONTRADICTED, message, told.phys)

    def bounded(self, text: int, end: int) -> AddressSpace:
        """The same, knowing where the kernel's image begins and ends."""
        return replace(self, bounded_image=Linear(text, end, self.image.distance))

    def _untagged(self, va: int) -> int:
        """Without the tag of KASAN or MTE: bit 55 tells which half of the address space is meant."""
        return va | 0xFF << 56 if self.tagged and va >> 55 & 1 else va

    def _by_arithmetic(self, va: int) -> Mapping | None:
        for linear in (self.direct, self.bounded_image):
            told = linear.mapping(va) if linear else None
            if told is not None:
                return told
        return None

    def _unreadable(self, va: int, hole: Hole) -> WhyNot:
        why = self.pages.memory.hole_at(hole.phys, hole.presence)
        message = f"where the pointer {va:#x} leads is not known: a page table at {hole.phys:#x} is {why}"
        return WhyNot(Reason.UNREADABLE, message, hole.phys)
