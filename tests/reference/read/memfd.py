"""What LUO's handler of memfds writes: a state, and an array of folios in a vmalloc area."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from . import lists, vmalloc
from .claims import Claims
from .memory import Memory
from .vmalloc import Area

STATE_SIZES = {"memfd-v1": 40, "memfd-v2": 48}
FOLIO = 16
PFN_BITS = 52


@dataclass(frozen=True)
class Folio:
    phys: int
    flags: int
    index: int


@dataclass
class Memfd:
    state: int
    position: int
    size: int
    seals: int
    count: int
    folios: list[Folio]
    array: Area

    def claim(self, claims: Claims, owner: str, version: str) -> None:
        claims.block(f"{owner}/state", self.state, STATE_SIZES[version])
        self.array.claim(claims, f"{owner}/folio array")
        for folio in self.folios:
            claims.block(f"{owner}/folios", folio.phys)


def read(memory: Memory, phys: int, version: str, page_shift: int) -> Memfd:
    """The memfd whose state is at this address. A folio with number 0 is a hole and left out."""
    state = memory.read(phys, STATE_SIZES[version])
    if version == "memfd-v1":
        position, size, count, area = struct.unpack("<QQQ16s", state)
        seals = 0
    else:
        position, size, seals, _flags, count, area = struct.unpack("<QQIIQ16s", state)
    array = vmalloc.read(memory, area, 1 << page_shift)
    folios = _folios(array.contents(memory)[: count * FOLIO], page_shift)
    return Memfd(phys, position, size, seals, count, folios, array)


def _folios(data: bytes, page_shift: int) -> list[Folio]:
    folios = []
    for entry in lists.entries(data, FOLIO):
        word, index = struct.unpack("<QQ", entry)
        pfn = word & (1 << PFN_BITS) - 1
        if pfn:
            folios.append(Folio(pfn << page_shift, word >> PFN_BITS, index))
    return folios
