"""The other users: reserve_mem, the test module, the release of the kernel before, and one that nobody knows."""

from __future__ import annotations

import struct

from tests.reference.read.fdt import Node

from . import fdt
from .machine import Machine
from .structures import vmalloc

REGIONS = ["trace", "pstore", "a b", "khores", "odd5"]


def memblock(machine: Machine) -> bytes:
    """Up to eight regions that reserve_mem= set aside."""
    root = Node("", {"compatible": fdt.text("memblock-v1")})
    for name in machine.rng.sample(REGIONS, machine.rng.randint(1, len(REGIONS))):
        pages = machine.rng.choice([1, 3, 16, 17, 200])
        start = machine.keep_range(pages)
        properties = {
            "compatible": fdt.text("reserve-mem-v1"),
            "start": fdt.u64(start),
            "size": fdt.u64(pages * machine.page_size),
        }
        root.children.append(Node(name, properties))
    return fdt.build(root)


def kho_test(machine: Machine, *, inline: bool) -> bytes:
    """Folios of random orders. Inline, two of them would look like a vmalloc area."""
    number = machine.rng.choice([1, 3, 96])
    orders = [machine.rng.randint(0, min(10, machine.highest_order)) for _ in range(number)]
    words = [machine.keep(order) | order for order in orders]
    array = struct.pack(f"<{number}Q", *words)
    info = array if inline else vmalloc(machine, array)
    properties = {"nr_folios": fdt.u32(number), "csum": fdt.u32(0x1234), "folios_info": info}
    root = Node("", {"compatible": fdt.text("kho-test-v1"), "magic": fdt.u32(0x4B484F21)})
    root.children.append(Node("data", properties))
    return fdt.build(root)


def metadata(release: str, count: int) -> bytes:
    """The kexec-metadata of 7.1 and later."""
    return struct.pack("<I65sI", 1, release.encode(), count)


def unknown(machine: Machine) -> bytes:
    """Something that is a device tree, of somebody whom nobody knows."""
    root = Node("", {"compatible": fdt.text("vendor-thing-v1"), "where": fdt.u64(machine.keep(1))})
    return fdt.build(root)
