"""Users of KHO, beside LUO: each is a short description that writes what it preserves and returns its blob."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import construct

from khodump.abi import kho_test, memblock
from khodump.abi.kexec_handover import PROP_COMPATIBLE
from khodump.fdt import FdtNode
from tests.builders.chains import Writer, write_vmalloc
from tests.builders.fdt import build_fdt, string, u64

_U32 = construct.Int32ul


class User(Protocol):
    """Whoever has a node in the root FDT."""

    def write(self, writer: Writer) -> bytes:
        """Preserve what belongs to it, and return the blob, which the handover preserves."""


@dataclass(frozen=True)
class ReserveMem:
    """A region that `reserve_mem=` set aside: physical address and size in bytes. Less than a page is not preserved."""

    name: str
    start: int
    size: int


@dataclass(frozen=True)
class Memblock:
    """The `memblock` node. Regions lie where they say, and are not written: keep them clear of the metadata."""

    regions: tuple[ReserveMem, ...] = ()

    def write(self, writer: Writer) -> bytes:
        """See `User`; regions are noted under their names."""
        children = []
        for region in self.regions:
            writer.at(region.name).note(region.start)
            writer.preserve_pages(region.start, region.size // writer.page_size)
            properties = {
                PROP_COMPATIBLE: string(memblock.RESERVE_MEM_COMPATIBLE),
                memblock.PROP_START: u64(region.start),
                memblock.PROP_SIZE: u64(region.size),
            }
            children.append(FdtNode(region.name, properties))
        root = {PROP_COMPATIBLE: string(memblock.COMPATIBLE)}
        return build_fdt(FdtNode("", root, tuple(children)))


@dataclass(frozen=True)
class KhoTest:
    """The `kho_test` node: folios of zeros, whose checksum is 0.

    Attributes:
        orders: of the folios.
        inline: 6.17's form, with the array in the FDT; otherwise it is a vmalloc area.
    """

    orders: tuple[int, ...] = (0,)
    inline: bool = False

    def write(self, writer: Writer) -> bytes:
        """See `User`; noted are `folios`, and the array's `folios_info/blocks` and `folios_info/chunks`."""
        array = b"".join(u64(writer.at("folios").preserve(order=order) | order) for order in self.orders)
        data = {
            kho_test.PROP_NR_FOLIOS: _U32.build(len(self.orders)),
            kho_test.PROP_FOLIOS_INFO: array
            if self.inline
            else write_vmalloc(writer.at("folios_info"), array),
            kho_test.PROP_CSUM: _U32.build(0),
        }
        root = {PROP_COMPATIBLE: string(kho_test.COMPATIBLE), kho_test.PROP_MAGIC: _U32.build(kho_test.MAGIC)}
        return build_fdt(FdtNode("", root, (FdtNode(kho_test.DATA_NODE, data),)))
