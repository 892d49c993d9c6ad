"""A running kernel with a whole handover in it: a root FDT, a map, LUO's state, and LUO's own lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.builders.chains import Writer
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.kernel.kernel import BuiltKernel, x86
from tests.builders.kernel.luo_lists import BuiltFile, BuiltSession, LuoLists
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Memfd

_STRUCT_PAGE = 64
_PRIVATE = 40
_MAGIC = 0x4B48_4F50


@dataclass
class LivingKernel:
    """An x86 kernel that prepares one session of memfds, with tokens 1, 2, ..., and may have received others.

    Attributes:
        kernel: it.
        handover: what it prepares.
        lists: LUO's own.
        first_received: the lowest physical address of the folios that it received.
    """

    kernel: BuiltKernel
    handover: BuiltHandover
    lists: LuoLists
    first_received: int | None = None

    @classmethod
    def of(cls, *memfds: Memfd, name: str = "vm", serialized: bool = False) -> LivingKernel:
        """With nothing in LUO's lists yet."""
        kernel = BuiltKernel(x86())
        files = tuple(LuoFile(token, memfd) for token, memfd in enumerate(memfds, 1))
        luo = Luo((Session(name, files),), serialized=serialized)
        handover = build_handover(Description(subtrees={"LUO": luo}), kernel.image)
        kernel.static("kho_out", fdt=kernel.machine.direct(handover.fdt_phys))
        kernel.static("kho_in", fdt_phys=0, scratch_phys=0)
        return cls(kernel, handover, LuoLists(kernel))

    def prepared(self, number: int) -> BuiltSession:
        """The session with so many memfds, as the list should have it."""
        states = [self.handover.places[f"LUO/sessions/0/files/{row}"][0] for row in range(number)]
        files = tuple(BuiltFile(token, state) for token, state in enumerate(states, 1))
        return BuiltSession("vm", files)

    def receive(self, *memfds: Memfd, has_orders: bool = True) -> tuple[BuiltFile, ...]:
        """Files that the last kernel handed over; the map that held them was given back, only struct pages tell of it."""
        writer = Writer(self.kernel.image, 4096)
        files = [BuiltFile(token, memfd.write(writer)) for token, memfd in enumerate(memfds, 1)]
        self.first_received = min(writer.places.get("contents", []), default=None)
        if has_orders:
            self._struct_pages(writer.blocks)
        return tuple(files)

    def _struct_pages(self, blocks: Sequence[tuple[int, int]]) -> None:
        """As kho_init_pages() leaves them."""
        start, end = self.kernel.machine.ram
        first, count = start // 4096, (end - start) // 4096
        table = self.kernel.image.alloc_page(count * _STRUCT_PAGE, 4096)
        for phys, order in blocks:
            at = table + (phys // 4096 - first) * _STRUCT_PAGE + _PRIVATE
            self.kernel.image.write(at, (_MAGIC << 32 | order).to_bytes(8, "little"))
        vmemmap = self.kernel.machine.direct(table) - first * _STRUCT_PAGE
        self.kernel.told |= {"SYMBOL(vmemmap)": f"{vmemmap:x}", "OFFSET(page.private)": str(_PRIVATE)}
