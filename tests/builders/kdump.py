"""kdump-compressed files, whole and split, in the shapes that makedumpfile and QEMU give them."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from khodump.memories.codecs import CODECS
from khodump.memories.kdump_header import (
    DISK_DUMP_HEADER,
    KDUMP_SUB_HEADER,
    MAGIC,
    PAGE_DESCRIPTOR,
    DiskDumpHeader,
    KdumpSubHeader,
    PageDescriptor,
)

FLAGS = {"raw": 0, **{codec.name: codec.flag for codec in CODECS}}


def build_kdump(
    pages: Mapping[int, bytes],
    *,
    excluded: Collection[int] = (),
    unwritten: Collection[int] = (),
    page_size: int = 4096,
    max_mapnr: int | None = None,
    codec: str = "zlib",
    version: int = 6,
    machine: bytes = b"x86_64",
    vmcoreinfo: bytes = b"",
    status: int = 0,
    window: tuple[int, int] | None = None,
    one_bitmap: bool = False,
) -> bytes:
    """A dump of these pages.

    Args:
        pages: page address to its bytes.
        excluded: addresses of the pages that the 1st bitmap has and the 2nd has not.
        unwritten: addresses among `pages` whose descriptors were never filled in, as in an incomplete dump.
        page_size: the block size.
        max_mapnr: pages in the bitmaps; by default up to the last one known.
        codec: a key of `FLAGS`; a page that it does not make smaller is stored as it is.
        version: header version.
        machine: utsname's.
        vmcoreinfo: the text of the note.
        status: further bits of the header's status.
        window: (first, last) PFNs of this part of a split dump, the last exclusive.
        one_bitmap: as dumps that have no 1st bitmap.
    """
    known = {address // page_size for address in (*pages, *excluded)}
    count = max(known, default=-1) + 1 if max_mapnr is None else max_mapnr
    blocks = -(-count // (8 * page_size))
    first, last = window or (0, count)
    dumped = {address // page_size: data for address, data in pages.items()}
    mine = [pfn for pfn in sorted(dumped) if first <= pfn < last]
    head = _headers(
        count,
        blocks * (1 if one_bitmap else 2),
        page_size=page_size,
        version=version,
        machine=machine,
        vmcoreinfo=vmcoreinfo,
        status=FLAGS[codec] | status,
        window=window,
    )
    bitmaps = [set(dumped)] if one_bitmap else [known, set(dumped)]
    head += b"".join(_bitmap(bits, blocks * page_size) for bits in bitmaps)
    at, table, bodies = len(head) + len(mine) * PAGE_DESCRIPTOR.size, [], []
    for pfn in mine:
        data, flags = compress(dumped[pfn], codec)
        lost = pfn * page_size in unwritten
        table.append(PageDescriptor(0, 0, 0, 0) if lost else PageDescriptor(at, len(data), flags, 0))
        if not lost:
            bodies.append(data)
            at += len(data)
    return b"".join([head, *map(PAGE_DESCRIPTOR.build, table), *bodies])


def _headers(
    count: int,
    bitmap_blocks: int,
    *,
    page_size: int = 4096,
    version: int = 6,
    machine: bytes = b"x86_64",
    vmcoreinfo: bytes = b"",
    status: int = 0,
    window: tuple[int, int] | None = None,
) -> bytes:
    """Both headers and the note, as `build_kdump()` has them, of `count` pages and so many blocks of bitmaps."""
    first, last = window or (0, count)
    note_at = page_size + KDUMP_SUB_HEADER.size
    header = DiskDumpHeader(
        signature=MAGIC,
        header_version=version,
        sysname=b"Linux".ljust(65, b"\0"),
        nodename=bytes(65),
        release=bytes(65),
        version=bytes(65),
        machine=machine.ljust(65, b"\0"),
        domainname=bytes(65),
        padding=bytes(6),
        tv_sec=0,
        tv_usec=0,
        status=status,
        block_size=page_size,
        sub_hdr_size=-(-(KDUMP_SUB_HEADER.size + len(vmcoreinfo)) // page_size),
        bitmap_blocks=bitmap_blocks,
        max_mapnr=count & 0xFFFFFFFF,
        total_ram_blocks=0,
        device_blocks=0,
        written_blocks=0,
        current_cpu=0,
        nr_cpus=1,
    )
    sub = KdumpSubHeader(
        phys_base=0,
        dump_level=0,
        split=int(window is not None),
        start_pfn=first & 0xFFFFFFFF,
        end_pfn=last & 0xFFFFFFFF,
        offset_vmcoreinfo=note_at if vmcoreinfo else 0,
        size_vmcoreinfo=len(vmcoreinfo),
        offset_note=0,
        size_note=0,
        offset_eraseinfo=0,
        size_eraseinfo=0,
        start_pfn_64=first if version >= 6 else 0,
        end_pfn_64=last if version >= 6 else 0,
        max_mapnr_64=count if version >= 6 else 0,
    )
    return _blocks(DISK_DUMP_HEADER.build(header), page_size) + _blocks(
        KDUMP_SUB_HEADER.build(sub) + vmcoreinfo, page_size
    )


def sparse_kdump(path: Path, pages: Mapping[int, bytes]) -> Path:
    """Write a dump of pages that may lie far up, whose empty bitmap blocks are holes in the file, uncompressed."""
    numbers = sorted(address // 4096 for address in pages)
    blocks = -(-(numbers[-1] + 1) // (8 * 4096))
    head = _headers(numbers[-1] + 1, 2 * blocks)
    table_at = len(head) + 2 * blocks * 4096
    bodies_at = table_at + len(numbers) * PAGE_DESCRIPTOR.size
    with path.open("wb") as file:
        file.write(head)
        for bitmap in range(2):
            for block in {number // (8 * 4096) for number in numbers}:
                bits = [number % (8 * 4096) for number in numbers if number // (8 * 4096) == block]
                file.seek(len(head) + (bitmap * blocks + block) * 4096)
                file.write(_bitmap(bits, 4096))
        file.seek(table_at)
        for row in range(len(numbers)):
            file.write(PAGE_DESCRIPTOR.build(PageDescriptor(bodies_at + row * 4096, 4096, 0, 0)))
        for number in numbers:
            file.write(pages[number * 4096])
    return path


def split_kdump(pages: Mapping[int, bytes], edges: Sequence[int], **shape: object) -> list[bytes]:
    """The parts of a dump that is split at the PFNs `edges`; `shape` goes to `build_kdump()`."""
    page_size = int(str(shape.get("page_size", 4096)))
    count = max(pages) // page_size + 1
    bounds = [0, *edges, count]
    windows = pairwise(bounds)
    return [build_kdump(pages, max_mapnr=count, window=window, **shape) for window in windows]  # type: ignore[arg-type]


def compress(data: bytes, codec: str) -> tuple[bytes, int]:
    """The page as it is stored, and its flags."""
    if codec == "zlib":
        packed = zlib.compress(data)
    elif codec == "lzo":
        import lzallright  # noqa: PLC0415 - optional

        packed = lzallright.LZOCompressor().compress(data)
    elif codec == "snappy":
        import cramjam  # noqa: PLC0415 - optional

        packed = bytes(cramjam.snappy.compress_raw(data))
    elif codec == "zstd":
        import cramjam  # noqa: PLC0415 - optional

        packed = bytes(cramjam.zstd.compress(data))
    else:
        packed = data
    return (packed, FLAGS[codec]) if len(packed) < len(data) else (data, 0)


def _blocks(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def _bitmap(bits: Collection[int], size: int) -> bytes:
    bitmap = bytearray(size)
    for bit in bits:
        bitmap[bit // 8] |= 1 << bit % 8
    return bytes(bitmap)
