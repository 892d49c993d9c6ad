"""ELF64 core files. Segments stand anywhere in the file, as in QEMU's own dumps."""

from __future__ import annotations

import struct
from pathlib import Path

from .picture import Picture

HEADER = 64
PROGRAM_HEADER = 56
PT_LOAD = 1
PT_NOTE = 4
ET_CORE = 4
MANY = 0xFFFF  # PN_XNUM: the number stands in the first section header
SECTION_HEADER = 64


def write(picture: Picture, path: Path) -> list[str]:
    """One core file."""
    _write(picture, path, list(picture.runs()))
    return [str(path)]


def write_parts(picture: Picture, path: Path) -> list[str]:
    """Three core files that hold every third run each."""
    runs = list(picture.runs())
    names = []
    for part in range(min(3, len(runs))):
        name = path.with_name(f"{path.name}.{part}")
        _write(picture, name, runs[part::3])
        names.append(str(name))
    return names


def _write(picture: Picture, path: Path, runs: list[tuple[int, bytes]]) -> None:
    note = _note(picture)
    number = len(runs) + bool(note)
    many = number >= MANY
    offset = HEADER + SECTION_HEADER * many + PROGRAM_HEADER * number
    headers = []
    if note:
        headers.append(struct.pack("<IIQQQQQQ", PT_NOTE, 0, offset, 0, 0, len(note), len(note), 0))
    offset += len(note)
    for phys, data in runs:
        headers.append(struct.pack("<IIQQQQQQ", PT_LOAD, 0, offset, 0, phys, len(data), len(data), 0))
        offset += len(data)
    parts = [_header(picture, number, many=many), *headers, note, *(data for _, data in runs)]
    path.write_bytes(b"".join(parts))


def _header(picture: Picture, number: int, *, many: bool) -> bytes:
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    sections_at = HEADER if many else 0
    headers_at = HEADER + SECTION_HEADER * many
    fields = (ET_CORE, picture.machine, 1, 0, headers_at, sections_at, 0, HEADER)
    sizes = (PROGRAM_HEADER, min(number, MANY), SECTION_HEADER if many else 0, int(many), 0)
    header = identity + struct.pack("<HHIQQQIH", *fields) + struct.pack("<HHHHH", *sizes)
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, number, 0, 0)
    return header + section if many else header


def _note(picture: Picture) -> bytes:
    if not picture.tells:
        return b""
    name = b"VMCOREINFO\0"
    text = picture.vmcoreinfo
    header = struct.pack("<III", len(name), len(text), 0)
    return header + name + bytes(-len(name) % 4) + text + bytes(-len(text) % 4)
