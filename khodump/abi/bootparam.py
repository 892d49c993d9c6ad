"""arch/x86/include/uapi/asm/bootparam.h and setup_data.h: how an x86 kernel is told of a handover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import construct

from khodump.abi.layout import Layout

#: Offsets in struct boot_params, and what marks one.
HEADER_OFFSET: Final = 0x202
HEADER_MAGIC: Final = b"HdrS"
SETUP_DATA_OFFSET: Final = 0x250

SETUP_KEXEC_KHO: Final = 10

#: The memory map that firmware passed: a count in one byte, and a table with room for this many entries.
E820_ENTRIES_OFFSET: Final = 0x1E8
E820_TABLE_OFFSET: Final = 0x2D0
E820_MAX_ENTRIES: Final = 128
E820_RAM: Final = 1


@dataclass(frozen=True, slots=True)
class E820Entry:
    """struct boot_e820_entry, packed: physical address and size in bytes, and what is there (enum e820_type)."""

    addr: int
    size: int
    type: int


E820_ENTRY: Final = Layout(E820Entry, addr=construct.Int64ul, size=construct.Int64ul, type=construct.Int32ul)


@dataclass(frozen=True, slots=True)
class SetupData:
    """struct setup_data: physical address of the next entry (0 ends), type, bytes of data that follow."""

    next: int
    type: int
    len: int


SETUP_DATA: Final = Layout(SetupData, next=construct.Int64ul, type=construct.Int32ul, len=construct.Int32ul)


@dataclass(frozen=True, slots=True)
class KhoData:
    """struct kho_data, packed: physical addresses, and sizes in bytes; `fdt_size` is a page, never the totalsize."""

    fdt_addr: int
    fdt_size: int
    scratch_addr: int
    scratch_size: int


KHO_DATA: Final = Layout(
    KhoData,
    fdt_addr=construct.Int64ul,
    fdt_size=construct.Int64ul,
    scratch_addr=construct.Int64ul,
    scratch_size=construct.Int64ul,
)
