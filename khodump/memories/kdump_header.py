"""The headers of a kdump-compressed file, as makedumpfile's diskdump_mod.h lays them out for 64-bit machines.

QEMU and libvirt write the same. Blocks, in this order: main header, sub header, 1st bitmap (is it RAM?), 2nd bitmap
(is it in the dump?), a descriptor a dumped page, and then, unaligned, the pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import construct

from khodump.abi.layout import Layout, dtype_of, s32, u32, u64
from khodump.errors import ImageError
from khodump.memories.file import ByteSource
from khodump.memory import Platform, vmcoreinfo_lines
from khodump.rounding import ceil_div

MAGIC: Final = b"KDUMP   "
NEWEST_VERSION: Final = 6

#: Bits of the header's status: what wrote the dump could not finish it.
STATUS_INCOMPLETE: Final = 0x8

_PAGE_SIZES: Final = tuple(1 << shift for shift in range(12, 17))
_MAX_PAGES: Final = 1 << 36  # 256 TiB of 4K pages; the running counts then take 128 MB
_MAX_VMCOREINFO: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class DiskDumpHeader:
    """struct disk_dump_header; `sub_hdr_size` and `bitmap_blocks` count blocks of `block_size` bytes."""

    signature: Annotated[bytes, construct.Bytes(8)]
    header_version: s32
    sysname: Annotated[bytes, construct.Bytes(65)]
    nodename: Annotated[bytes, construct.Bytes(65)]
    release: Annotated[bytes, construct.Bytes(65)]
    version: Annotated[bytes, construct.Bytes(65)]
    machine: Annotated[bytes, construct.Bytes(65)]
    domainname: Annotated[bytes, construct.Bytes(65)]
    padding: Annotated[bytes, construct.Bytes(6)]
    tv_sec: u64
    tv_usec: u64
    status: u32
    block_size: u32
    sub_hdr_size: u32
    bitmap_blocks: u32
    max_mapnr: u32
    total_ram_blocks: u32
    device_blocks: u32
    written_blocks: u32
    current_cpu: u32
    nr_cpus: u32


DISK_DUMP_HEADER: Final = Layout(DiskDumpHeader)


@dataclass(frozen=True, slots=True)
class KdumpSubHeader:
    """struct kdump_sub_header; `dump_level` came with version 1, the window with 2, and so on to the _64s with 6."""

    phys_base: u64
    dump_level: s32
    split: s32
    start_pfn: u64
    end_pfn: u64
    offset_vmcoreinfo: u64
    size_vmcoreinfo: u64
    offset_note: u64
    size_note: u64
    offset_eraseinfo: u64
    size_eraseinfo: u64
    start_pfn_64: u64
    end_pfn_64: u64
    max_mapnr_64: u64


KDUMP_SUB_HEADER: Final = Layout(KdumpSubHeader)


@dataclass(frozen=True, slots=True)
class PageDescriptor:
    """struct page_desc: `size` bytes at file offset `offset`, compressed as `flags` say."""

    offset: u64
    size: u32
    flags: u32
    page_flags: u64


PAGE_DESCRIPTOR: Final = Layout(PageDescriptor)
DESCRIPTOR_DTYPE: Final = dtype_of(PAGE_DESCRIPTOR.schema)


@dataclass(frozen=True)
class KdumpHeader:
    """What both headers come to.

    Attributes:
        page_size: bytes a bit and a descriptor stand for. QEMU writes 64 KiB for every arm64 guest, whatever the
            guest's own page size.
        pages: how many pages the bitmaps speak of.
        first, last: the window (PFNs, end exclusive) whose pages this file holds; all, unless it is part of a split dump.
        is_split: whether it is part of a split dump.
        memory_bitmap, dumped_bitmap, descriptors: file offsets; both bitmaps are the same one in old dumps.
        status: what the writer says of the dump: its compression, and `STATUS_INCOMPLETE`.
        version: header version.
        platform: what is told of the machine.
    """

    page_size: int
    pages: int
    first: int
    last: int
    is_split: bool
    memory_bitmap: int
    dumped_bitmap: int
    descriptors: int
    status: int
    version: int
    platform: Platform


def read_header(file: ByteSource) -> KdumpHeader:
    """The headers of `file`, which begins with `MAGIC`.

    Raises:
        ImageError: they are cut off, make no sense, or are of a 32-bit or big-endian machine.
    """
    main = DISK_DUMP_HEADER.parse(_bytes(file, 0, DISK_DUMP_HEADER.size))
    if main.block_size not in _PAGE_SIZES or main.header_version < 0:
        raise ImageError(
            f"{file.name} is no kdump-compressed dump of a 64-bit little-endian machine: "
            f"version {main.header_version}, blocks of {main.block_size} bytes",
            hint="KHO exists on x86_64 and arm64; if this is one of these, the header is damaged",
        )
    sub = KDUMP_SUB_HEADER.parse(_bytes(file, main.block_size, KDUMP_SUB_HEADER.size))
    version = main.header_version
    pages = sub.max_mapnr_64 if version >= 6 else main.max_mapnr
    size, blocks = main.block_size, main.bitmap_blocks
    needed = ceil_div(pages, 8 * size)
    half = blocks // 2 * size if blocks >= 2 * needed else 0  # very old dumps have one bitmap only
    bitmaps_at, bitmaps = (1 + main.sub_hdr_size) * size, blocks * size
    if needed > blocks or pages > _MAX_PAGES:
        raise ImageError(
            f"{file.name} claims {pages} pages and {bitmaps} bytes of page bitmaps",
            hint="its header is damaged",
        )
    is_split = version >= 2 and sub.split != 0
    first, last = (sub.start_pfn_64, sub.end_pfn_64) if version >= 6 else (sub.start_pfn, sub.end_pfn)
    if not is_split:
        first, last = 0, pages
    if first > last:
        raise ImageError(
            f"{file.name} claims to hold the pages {first:#x} to {last:#x}", hint="its header is damaged"
        )
    return KdumpHeader(
        page_size=main.block_size,
        pages=pages,
        first=min(first, pages),
        last=min(last, pages),
        is_split=is_split,
        memory_bitmap=bitmaps_at,
        dumped_bitmap=bitmaps_at + half,
        descriptors=bitmaps_at + bitmaps,
        status=main.status,
        version=version,
        platform=_platform(file, main, sub),
    )


def _bytes(file: ByteSource, offset: int, size: int) -> bytes:
    data = file.read(offset, size)
    if len(data) < size:
        raise ImageError(f"{file.name} ends inside its headers ({file.size} bytes)", hint="copy it again")
    return data


def _platform(file: ByteSource, main: DiskDumpHeader, sub: KdumpSubHeader) -> Platform:
    machine = main.machine.partition(b"\0")[0].decode("ascii", "replace")
    text = b""
    if main.header_version >= 3:
        text = file.read(sub.offset_vmcoreinfo, min(sub.size_vmcoreinfo, _MAX_VMCOREINFO))
    return Platform(machine or None, vmcoreinfo_lines(text))
