"""Readers in plain Python that say what a file's bytes say, to hold the fast ones against.

They share nothing with those but the layouts' numbers, and are as simple as a specification.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from khodump.memory import Presence

#: (start, end, presence, offset in the file or None where bytes are made up).
Row = tuple[int, int, Presence, int | None]


def elf_rows(data: bytes) -> list[Row]:
    """The PT_LOADs of a core whose headers were taken for sound."""
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    if count == 0xFFFF:
        count = struct.unpack_from("<I", data, shoff + 44)[0]
    rows: list[list[Row]] = [[], [], []]
    for at in range(phoff, phoff + count * size, size):
        kind, _, offset, _, paddr, filesz, memsz, _ = struct.unpack_from("<IIQQQQQQ", data, at)
        if kind != 1 or paddr == (1 << 64) - 1:
            continue
        held = min(filesz, max(len(data) - offset, 0))
        rows[0].append((paddr, paddr + held, Presence.PRESENT, offset))
        rows[1].append((paddr + held, paddr + filesz, Presence.TRUNCATED, None))
        rows[2].append((paddr + filesz, paddr + max(memsz, filesz), Presence.EXCLUDED, None))
    return [row for part in rows for row in part]


def lime_rows(data: bytes) -> list[Row] | None:
    """The ranges of a LiME dump, up to where the chain of headers breaks; None if one lacks some bytes or all of them."""
    rows: list[Row] = []
    at = 0
    while at + 32 <= len(data):
        magic, version, start, last = struct.unpack_from("<4sIQQ", data, at)
        if (magic, version) != (b"EMiL", 1) or not start <= last < (1 << 64) - 1:
            break
        at += 32
        held = max(0, min(last + 1 - start, len(data) - at))
        rows.append((start, start + held, Presence.PRESENT, at))
        rows.append((start + held, last + 1, Presence.TRUNCATED, None))
        at += last + 1 - start
        if held == last + 1 - start and at != len(data) and data[at : at + 8] != data[:8]:
            return None
    return rows


def byte_at(rows: list[Row], data: bytes, phys: int) -> int | Presence:
    """The byte at a physical address: bytes win over holes, lesser reasons over greater, and then the first row."""
    hits = [(row[2], at) for at, row in enumerate(rows) if row[0] <= phys < row[1]]
    if not hits:
        return Presence.ABSENT
    presence, at = min(hits)
    start, _, _, offset = rows[at]
    return presence if offset is None else data[offset + phys - start]


def flat_bytes(data: bytes) -> tuple[dict[int, int], int] | None:
    """The bytes that a flattened stream's records write, by offset, and the end; None for streams too large to hold."""
    written: dict[int, int] = {}
    at, end = 4096, 0
    while at + 16 <= len(data):
        offset, size = struct.unpack_from(">qq", data, at)
        if offset == -1:
            break
        at += 16
        held = data[at : at + size]
        written.update(zip(range(offset, offset + len(held)), held, strict=True))
        end = max(end, offset + len(held)) if held else end
        at += size
        if len(written) > 1 << 16:
            return None
    return written, end


def fdt_properties(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """(path, name, value) of every property of a tree that was taken for sound, in order."""
    (structure, strings) = struct.unpack_from(">II", data, 8)
    at, path = structure, []
    while True:
        (token,) = struct.unpack_from(">I", data, at)
        at += 4
        if token == 1:
            name = data[at : data.index(b"\0", at)]
            path.append(name.decode("utf-8", "surrogateescape"))
            at += -(-(len(name) + 1) // 4) * 4
        elif token == 2:
            path.pop()
        elif token == 3:
            size, name_at = struct.unpack_from(">II", data, at)
            at += 8
            start = strings + name_at
            prop = data[start : data.index(b"\0", start)].decode("utf-8", "surrogateescape")
            yield "/".join(path), prop, data[at : at + size]
            at += -(-size // 4) * 4
        elif token == 9:
            return


def kdump_page(data: bytes, pfn: int) -> bytes | Presence | None:
    """A page of an unsplit dump whose headers were taken for sound; None where its codec is none of Python's own."""
    (version,) = struct.unpack_from("<i", data, 8)
    size, sub_blocks, blocks, max_mapnr = struct.unpack_from("<IIII", data, 428)
    (pages,) = struct.unpack_from("<Q", data, size + 96) if version >= 6 else (max_mapnr,)
    bitmaps = (1 + sub_blocks) * size
    half = blocks // 2 * size if blocks >= 2 * -(-pages // (8 * size)) else 0
    memory, dumped = (data[at : at + -(-pages // 8)] for at in (bitmaps, bitmaps + half))
    if pfn >= pages or not dumped[pfn // 8] >> pfn % 8 & 1:
        return Presence.EXCLUDED if pfn < pages and memory[pfn // 8] >> pfn % 8 & 1 else Presence.ABSENT
    rank = sum(dumped[at // 8] >> at % 8 & 1 for at in range(pfn))
    at = bitmaps + blocks * size + rank * 24
    if len(data) < at + 24:
        return Presence.TRUNCATED
    offset, stored, flags = struct.unpack_from("<QII", data, at)
    return _stored_page(data, size, offset, stored, flags)


def _stored_page(data: bytes, size: int, offset: int, stored: int, flags: int) -> bytes | Presence | None:
    if not offset:
        return Presence.TRUNCATED
    if not 0 < stored <= size:
        return Presence.DAMAGED
    if offset + stored > len(data):
        return Presence.TRUNCATED
    page = data[offset : offset + stored]
    try:
        page = zlib.decompressobj().decompress(page, size + 1) if flags == 1 else page
    except zlib.error:
        return Presence.DAMAGED
    whole = page if len(page) == size else Presence.DAMAGED
    return whole if flags in (0, 1) else None
