"""ELF64 core files, as far as the captures of real kernels need it."""

from __future__ import annotations

import struct
from pathlib import Path

from .memory import Memory

PT_LOAD = 1


def read(path: Path) -> Memory:
    """What the file's segments hold, at their physical addresses."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is no little-endian ELF64 file")
    headers_at = struct.unpack_from("<Q", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 54)
    memory = Memory()
    for number in range(count):
        _load(memory, data, headers_at + number * size)
    return memory


def _load(memory: Memory, data: bytes, at: int) -> None:
    kind, _flags, offset, _virtual, phys, held = struct.unpack_from("<IIQQQQ", data, at)
    if kind == PT_LOAD and held:
        memory.write(phys, data[offset : offset + held])
