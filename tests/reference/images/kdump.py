"""Kdump-compressed dumps (makedumpfile's diskdump format): headers, two bitmaps, descriptors, pages."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from .picture import Picture

MOST = 1 << 40
DESCRIPTOR = 24
ZLIB = 1
VERSION = 6
UTSNAME = 65


def write(picture: Picture, path: Path) -> list[str]:
    """One dump, written where its parts go; what is zero stays a hole of the file."""
    with path.open("wb") as file:
        for offset, data in layout(picture):
            file.seek(offset)
            file.write(data)
    return [str(path)]


def layout(picture: Picture) -> Iterator[tuple[int, bytes]]:
    """The dump as (offset in the file, bytes)."""
    block = picture.page_size
    pages = _pages(picture)
    most = picture.ram_end // block
    bitmap_blocks = -(-most // (8 * block))
    info = picture.vmcoreinfo
    info_at = block + 512
    sub_blocks = -(-(512 + len(info)) // block)
    bitmaps_at = (1 + sub_blocks) * block
    descriptors_at = bitmaps_at + 2 * bitmap_blocks * block
    yield 0, _header(picture, sub_blocks, 2 * bitmap_blocks, most, len(pages))
    yield block, _sub_header(info_at if info else 0, len(info), most)
    yield info_at, info
    for copy in range(2):
        yield from _bitmap(pages, bitmaps_at + copy * bitmap_blocks * block)
    data_at = descriptors_at + DESCRIPTOR * len(pages)
    for number, pfn in enumerate(sorted(pages)):
        data, flags = _packed(pages[pfn], number)
        descriptor = struct.pack("<qIIQ", data_at, len(data), flags, 0)
        yield descriptors_at + number * DESCRIPTOR, descriptor
        yield data_at, data
        data_at += len(data)


def _pages(picture: Picture) -> dict[int, bytes]:
    """Whole pages by number; a page that is known in part has zeros for the rest."""
    pages: dict[int, bytearray] = {}
    size = picture.page_size
    for phys, data in picture.runs():
        at = 0
        while at < len(data):
            pfn, start = divmod(phys + at, size)
            piece = data[at : at + size - start]
            pages.setdefault(pfn, bytearray(size))[start : start + len(piece)] = piece
            at += len(piece)
    return {pfn: bytes(data) for pfn, data in pages.items()}


def _header(picture: Picture, sub_blocks: int, bitmap_blocks: int, most: int, pages: int) -> bytes:
    machine = b"x86_64" if picture.page_size == 4096 else b"aarch64"
    release = picture.release.encode() if picture.tells else b""
    names = [b"Linux", b"host", release, b"#1", machine, b""]
    utsname = b"".join(name.ljust(UTSNAME, b"\0") for name in names)
    header = b"KDUMP   " + struct.pack("<i", VERSION) + utsname + bytes(6)
    header += struct.pack("<qqIi", 0, 0, 0, picture.page_size)
    header += struct.pack("<iII", sub_blocks, bitmap_blocks, min(most, 0xFFFFFFFF))
    return header + struct.pack("<IIIII", pages, 0, pages, 0, 1)


def _sub_header(info_at: int, info_size: int, most: int) -> bytes:
    head = struct.pack("<Qiiqqqq", 0, 31, 0, 0, 0, info_at, info_size)
    return head + struct.pack("<qqqqqqq", 0, 0, 0, 0, 0, 0, most)


def _bitmap(pages: dict[int, bytes], at: int) -> Iterator[tuple[int, bytes]]:
    byte_values: dict[int, int] = {}
    for pfn in pages:
        byte_values[pfn // 8] = byte_values.get(pfn // 8, 0) | 1 << pfn % 8
    for byte, value in byte_values.items():
        yield at + byte, bytes([value])


def _packed(page: bytes, number: int) -> tuple[bytes, int]:
    """Packed where that makes it smaller, but every seventh page is not, as if it had not become smaller."""
    packed = zlib.compress(page, 1)
    if number % 7 == 0 or len(packed) >= len(page):
        return page, 0
    return packed, ZLIB
