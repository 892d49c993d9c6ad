"""The other users of KHO: reserve_mem, the test module, and what tells of the kernel before."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from . import fdt, vmalloc
from .claims import Claims
from .maps import Block
from .memory import Memory
from .vmalloc import Area

METADATA = 73


@dataclass(frozen=True)
class Region:
    name: str
    start: int
    size: int


def read_memblock(root: fdt.Node) -> list[Region]:
    """The regions that reserve_mem= set aside."""
    return [
        Region(child.name, child.u64("start") or 0, child.u64("size") or 0)
        for child in root.children
        if child.string("compatible") == "reserve-mem-v1"
    ]


@dataclass
class KhoTest:
    folios: list[Block] = field(default_factory=list)
    area: Area | None = None

    def claim(self, claims: Claims) -> None:
        for folio in self.folios:
            claims.add("kho_test/folios", folio.phys, claims.page_size << folio.order)
        if self.area:
            self.area.claim(claims, "kho_test/folios_info")


def read_kho_test(memory: Memory, root: fdt.Node, page_shift: int, *, inline: bool) -> KhoTest:
    """The folios of the test module. 6.17 has the array in the property, 6.18 and later in a vmalloc area."""
    data = root.child("data")
    if data is None:
        return KhoTest()
    count = int.from_bytes(data.properties["nr_folios"], "little")
    info = data.properties["folios_info"]
    result = KhoTest()
    if not inline:
        result.area = vmalloc.read(memory, info, 1 << page_shift)
        info = result.area.contents(memory)
    for (word,) in struct.iter_unpack("<Q", info[: count * 8]):
        order = word & (1 << page_shift) - 1
        result.folios.append(Block(word - order, order))
    return result


@dataclass(frozen=True)
class Metadata:
    release: str
    kexec_count: int


def read_metadata(memory: Memory, phys: int) -> Metadata:
    """Which kernel wrote the handover. The count is not aligned."""
    _version, release, count = struct.unpack("<I65sI", memory.read(phys, METADATA))
    return Metadata(release.split(b"\0")[0].decode(), count)
