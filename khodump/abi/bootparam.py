"""arch/x86/include/uapi/asm/bootparam.h and setup_data.h: how an x86 kernel is told of a handover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from khodump.abi.layout import Layout, u32, u64

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

    addr: u64
    size: u64
    type: u32


E820_ENTRY: Final = Layout(E820Entry)


@dataclass(frozen=True, slots=True)
class SetupData:
    """struct setup_data: physical address of the next entry (0 ends), type, bytes of data that follow."""

    next: u64
    type: u32
    len: u32


SETUP_DATA: Final = Layout(SetupData)


@dataclass(frozen=True, slots=True)
class KhoData:
    """struct kho_data, packed: physical addresses, and sizes in bytes; `fdt_size` is a page, never the totalsize."""

    fdt_addr: u64
    fdt_size: u64
    scratch_addr: u64
    scratch_size: u64


KHO_DATA: Final = Layout(KhoData)
