"""What users of KHO are built from: vmalloc areas and lists of entries."""

from __future__ import annotations

import struct

from tests.reference.read.maps import Block

from .machine import Machine

HUGE_VMAP = 2
ALLOC = 1


def vmalloc(machine: Machine, data: bytes) -> bytes:
    """An area that holds these bytes; its struct kho_vmalloc."""
    if not data:
        return bytes(16)
    order = machine.rng.choice([0, 0, 0, 1, 3])
    size = machine.page_size << order
    blocks = [_block(machine, data[at : at + size], order) for at in range(0, len(data), size)]
    flags = HUGE_VMAP if order else ALLOC
    return struct.pack("<QIHH", _chain(machine, blocks), len(blocks) << order, flags, order)


def _block(machine: Machine, data: bytes, order: int) -> int:
    """A block of an area, which may have been preserved in halves where NUMA nodes meet."""
    phys = machine.take(order)
    machine.memory.write(phys, data.ljust(machine.page_size << order, b"\0"))
    pieces = 1 if order == 0 or machine.rng.random() < 0.8 else 2
    half = machine.page_size << order - (pieces - 1)
    machine.kept += [Block(phys + piece * half, order - (pieces - 1)) for piece in range(pieces)]
    return phys


def _chain(machine: Machine, blocks: list[int]) -> int:
    """The pages that list the blocks. One that is exactly full is followed by an empty one."""
    capacity = machine.page_size // 8 - 1
    groups = [blocks[at : at + capacity] for at in range(0, len(blocks), capacity)]
    if len(groups[-1]) == capacity:
        groups.append([])
    pages = [machine.keep_zeroed(machine.page_size) for _ in groups]
    for page, following, group in zip(pages, [*pages[1:], 0], groups, strict=True):
        machine.memory.write(page, struct.pack(f"<{1 + len(group)}Q", following, *group))
    return pages[0]


def block_list(machine: Machine, entries: list[bytes]) -> int:
    """struct kho_block: pages of entries, each with their number; 0 for none."""
    if not entries:
        return 0
    capacity = (machine.page_size - 16) // len(entries[0])
    if machine.rng.random() < 0.3:
        capacity = machine.rng.randint(1, capacity)
    groups = [entries[at : at + capacity] for at in range(0, len(entries), capacity)]
    pages = [machine.keep_zeroed(machine.page_size) for _ in groups]
    for page, following, group in zip(pages, [*pages[1:], 0], groups, strict=True):
        machine.memory.write(page, struct.pack("<QQ", following, len(group)) + b"".join(group))
    return pages[0]
