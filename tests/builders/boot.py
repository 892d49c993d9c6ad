"""What a kernel is told of a handover: x86's boot_params and setup_data, a machine's device tree, the scratch table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from khodump.abi.bootparam import (
    E820_ENTRIES_OFFSET,
    E820_ENTRY,
    E820_TABLE_OFFSET,
    HEADER_MAGIC,
    HEADER_OFFSET,
    KHO_DATA,
    SETUP_DATA,
    SETUP_DATA_OFFSET,
    SETUP_KEXEC_KHO,
    E820Entry,
    KhoData,
    SetupData,
)
from khodump.abi.kexec_handover import KHO_SCRATCH, KhoScratch
from khodump.fdt import FdtNode
from tests.builders.fdt import build_fdt, u64
from tests.builders.memory import MemoryImage

SETUP_DTB = 2


class Entry(NamedTuple):
    """A setup_data entry at `phys`; `claims` is its len, by default that of its data."""

    phys: int
    data: bytes
    type: int = SETUP_KEXEC_KHO
    claims: int | None = None


def kho_data(fdt: int, scratch: int = 0, scratch_size: int = 0, *, page_size: int = 4096) -> bytes:
    """The data of a setup_data entry that tells of a handover."""
    return KHO_DATA.build(KhoData(fdt, page_size, scratch, scratch_size))


def write_boot_params(
    image: MemoryImage,
    phys: int,
    entries: Sequence[Entry] = (),
    *,
    last_next: int = 0,
    e820: Sequence[tuple[int, int, int]] = (),
) -> None:
    """Write boot_params at `phys` that head the list of these entries; the last one points to `last_next`.

    `e820` is the memory map: (start, end, type).
    """
    image.write(phys + HEADER_OFFSET, HEADER_MAGIC)
    image.write(phys + E820_ENTRIES_OFFSET, bytes([len(e820)]))
    table = b"".join(E820_ENTRY.build(E820Entry(start, end - start, kind)) for start, end, kind in e820)
    image.write(phys + E820_TABLE_OFFSET, table)
    image.write(phys + SETUP_DATA_OFFSET, u64(entries[0].phys if entries else last_next))
    following = [*(entry.phys for entry in entries[1:]), last_next]
    for entry, then in zip(entries, following, strict=True) if entries else ():
        write_entry(image, entry, then)


def write_entry(image: MemoryImage, entry: Entry, then: int = 0) -> None:
    """Write one entry, linked from nowhere; its next is `then`."""
    size = len(entry.data) if entry.claims is None else entry.claims
    image.write(entry.phys, SETUP_DATA.build(SetupData(then, entry.type, size)) + entry.data)


def write_scratch(image: MemoryImage, phys: int, regions: Iterable[tuple[int, int]]) -> int:
    """Write the scratch table of these (addr, size) at `phys`; returns its bytes."""
    table = b"".join(KHO_SCRATCH.build(KhoScratch(*region)) for region in regions)
    image.write(phys, table)
    return len(table)


def machine_tree(
    fdt: tuple[int, int] | None,
    scratch: tuple[int, int] | None,
    *,
    cells: tuple[int, int] = (2, 2),
    chosen: str = "chosen",
    ram: Sequence[tuple[int, int]] = (),
) -> bytes:
    """A machine's device tree whose /chosen tells of the (address, size) of the root FDT and of the scratch table.

    Args:
        fdt: the root FDT; None leaves it out.
        scratch: the scratch table; None leaves it out.
        cells: #address-cells and #size-cells.
        chosen: name of the node.
        ram: (start, end) of the memory nodes; by default there is one, without a reg.
    """
    told = {"bootargs": b"kho=on\0"}
    for name, span in (("linux,kho-fdt", fdt), ("linux,kho-scratch", scratch)):
        if span is not None:
            told[name] = b"".join(
                value.to_bytes(4 * count, "big") for value, count in zip(span, cells, strict=True)
            )
    names = ("#address-cells", "#size-cells")
    properties = {name: count.to_bytes(4, "big") for name, count in zip(names, cells, strict=True)}
    banks = [FdtNode("memory@40000000", {"device_type": b"memory\0"})]
    if ram:
        banks = [_memory_node(start, end, cells) for start, end in ram]
    children = (*banks, FdtNode(chosen, told))
    return build_fdt(FdtNode("", {"compatible": b"linux,dummy-virt\0", **properties}, children))


def _memory_node(start: int, end: int, cells: tuple[int, int]) -> FdtNode:
    address, size = cells
    reg = start.to_bytes(4 * address, "big") + (end - start).to_bytes(4 * size, "big")
    return FdtNode(f"memory@{start:x}", {"device_type": b"memory\0", "reg": reg})
