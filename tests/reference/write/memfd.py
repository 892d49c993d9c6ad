"""Memfds as LUO's handler writes them."""

from __future__ import annotations

import struct

from .machine import Machine
from .structures import vmalloc

BOTH_FLAGS = 3  # dirty, up to date
ALL_SEALS = 0x3F


def write(machine: Machine, version: str, number: int) -> int:
    """A memfd with random folios; the address of its state."""
    rng = machine.rng
    folios, pages = _folios(machine, rng.choice([0, 1, 3, number]))
    size = max(0, pages * machine.page_size - rng.choice([0, 0, 1, 1000]))
    if not folios:
        size = 0
    area = vmalloc(machine, b"".join(folios))
    position = rng.choice([0, 0, 777])
    seals = rng.choice([0, 0, 15, ALL_SEALS])
    if version == "memfd-v1":
        state = struct.pack("<QQQ", position, size, len(folios)) + area
    else:
        state = struct.pack("<QQIIQ", position, size, seals, 0, len(folios)) + area
    at = machine.keep_zeroed(len(state))
    machine.memory.write(at, state)
    return at


def _folios(machine: Machine, count: int) -> tuple[list[bytes], int]:
    """Entries of the array, and how many pages of the file they reach to. Preserving a file fills its holes."""
    order = machine.rng.choice([0, 0, 0, 4, 9 if machine.page_shift == 12 else 5])
    entries = []
    for number in range(count):
        folio = machine.keep(order)
        if order == 0 and machine.rng.random() < 0.5:
            machine.memory.write(folio, machine.rng.randbytes(16).ljust(machine.page_size, b"\x11"))
        word = BOTH_FLAGS << 52 | folio >> machine.page_shift
        entries.append(struct.pack("<QQ", word, number << order))
    return entries, count << order
