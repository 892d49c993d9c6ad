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
