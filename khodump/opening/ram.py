"""What a machine says of its own memory: x86's e820 table, or the memory nodes of a device tree.

The end of an image is not the end of RAM, and the offsets of a raw file are not always physical addresses. Both can be
settled by what the firmware told the kernel, where a copy of it is in the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from khodump.abi.bootparam import (
    E820_ENTRIES_OFFSET,
    E820_ENTRY,
    E820_MAX_ENTRIES,
    E820_RAM,
    E820_TABLE_OFFSET,
)
from khodump.fdt import FdtNode, cells_of, ranges_of
from khodump.layouts import RamMap, joined
from khodump.memory import Hole, PhysicalMemory

#: No table of a real machine describes memory above what its processors can address.
_ADDRESS_END: Final = 1 << 52


def in_boot_params(memory: PhysicalMemory, boot_params: int) -> RamMap | None:
    """The e820 table in the boot_params at this physical address; None without one that makes sense.

    Mirrors struct boot_params of arch/x86/include/uapi/asm/bootparam.h. The kernel copies it before it changes it, so
    this is what firmware, or the kernel that loaded this one by kexec, passed.
    """
    count = memory.read(boot_params + E820_ENTRIES_OFFSET, 1)
    if isinstance(count, Hole) or not 0 < count[0] <= E820_MAX_ENTRIES:
        return None
    size = E820_ENTRY.size
    table = memory.read(boot_params + E820_TABLE_OFFSET, count[0] * size)
    if isinstance(table, Hole):
        return None
    entries = [E820_ENTRY.parse(table[at : at + size]) for at in range(0, len(table), size)]
    if any(entry.addr + entry.size > _ADDRESS_END for entry in entries):
        return None
    ram = ((entry.addr, entry.addr + entry.size) for entry in entries if entry.type == E820_RAM)
    reserved = ((entry.addr, entry.addr + entry.size) for entry in entries if entry.type != E820_RAM)
    return _ram_map(ram, reserved, f"the e820 table of the boot_params at {boot_params:#x}")


def in_devicetree(tree: FdtNode, source: str) -> RamMap | None:
    """The memory nodes of a machine's device tree; None without any that make sense.

    As early_init_dt_scan_memory() of drivers/of/fdt.c: the root's children with device_type "memory", their
    linux,usable-memory before their reg.
    """
    cells = cells_of(tree)
    ram = [span for node in _memory_nodes(tree) for span in ranges_of(_extent_of(node), cells)]
    reserved_memory = tree.child("reserved-memory")
    reserved: list[tuple[int, int]] = []
    if reserved_memory is not None:
        for node in reserved_memory.children:
            reserved += ranges_of(node.properties.get("reg", b""), cells_of(reserved_memory))
    if any(end > _ADDRESS_END for _, end in ram):
        return None
    return _ram_map(ram, reserved, f"the memory nodes of the device tree {source}")


def _memory_nodes(tree: FdtNode) -> Iterator[FdtNode]:
    return (node for node in tree.children if node.string("device_type") == "memory")


def _extent_of(node: FdtNode) -> bytes:
    usable = node.properties.get("linux,usable-memory")
    return node.properties.get("reg", b"") if usable is None else usable


def _ram_map(
    ram: Iterable[tuple[int, int]], reserved: Iterable[tuple[int, int]], source: str
) -> RamMap | None:
    """The map of these ranges; None when RAM overlaps itself, as that of no machine does, or there is none."""
    sorted_ram = sorted(span for span in ram if span[0] < span[1])
    overlaps = any(left[1] > right[0] for left, right in pairwise(sorted_ram))
    if not sorted_ram or overlaps:
        return None
    sorted_reserved = sorted(span for span in reserved if span[0] < span[1])
    return RamMap(tuple(joined(sorted_ram)), tuple(sorted_reserved), source)
