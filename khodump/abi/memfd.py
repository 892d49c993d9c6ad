"""include/linux/kho/abi/memfd.h: memfds preserved through LUO."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Annotated, Any, Final

import construct

from khodump.abi.layout import Layout, u32, u64
from khodump.abi.vmalloc import KHO_VMALLOC

COMPATIBLE_V1: Final = "memfd-v1"
COMPATIBLE_V2: Final = "memfd-v2"


class Seals(IntFlag):
    """F_SEAL_* of include/uapi/linux/fcntl.h; the next kernel refuses others."""

    SEAL = 0x1
    SHRINK = 0x2
    GROW = 0x4
    WRITE = 0x8
    FUTURE_WRITE = 0x10
    EXEC = 0x20


class FolioFlags(IntFlag):
    """Flags of a folio, from bit 52 of its first word on."""

    DIRTY = 1
    UPTODATE = 2


@dataclass(frozen=True, slots=True)
class MemfdLuoSer:
    """struct memfd_luo_ser: position and size in bytes, seals, flags, folios, and the array of them (vmalloc)."""

    pos: u64
    size: u64
    seals: u32
    flags: u32
    nr_folios: u64
    folios: Annotated[bytes, construct.Bytes(KHO_VMALLOC.size)]


@dataclass(frozen=True, slots=True)
class MemfdLuoSerV1:
    """The same in memfd-v1, before seals were kept."""

    pos: u64
    size: u64
    nr_folios: u64
    folios: Annotated[bytes, construct.Bytes(KHO_VMALLOC.size)]


MEMFD_LUO_SER: Final = Layout(MemfdLuoSer)
MEMFD_LUO_SER_V1: Final = Layout(MemfdLuoSerV1)

#: struct memfd_luo_folio_ser: PFN in the low 52 bits of `folio` (0 is a hole), flags above; page offset in the file.
MEMFD_LUO_FOLIO_SER: Any = construct.Struct("folio" / construct.Int64ul, "index" / construct.Int64ul)
PFN_BITS: Final = 52

#: The draft that was posted as memfd-v1 had an FDT instead of the struct, and the PFN above 12 bits of flags.
DRAFT_FLAG_BITS: Final = 12
PROP_POS: Final = "pos"
PROP_SIZE: Final = "size"
PROP_NR_FOLIOS: Final = "nr_folios"
PROP_FOLIOS: Final = "folios"
