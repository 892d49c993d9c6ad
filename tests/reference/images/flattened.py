"""Makedumpfile's flattened form of a kdump-compressed dump: what to write where, as a stream of records."""

from __future__ import annotations

import struct
from pathlib import Path

from . import kdump
from .picture import Picture

HEADER = 4096
END = struct.pack(">qq", -1, -1)


def write(picture: Picture, path: Path) -> list[str]:
    """One stream. Records of neighbouring bytes are joined, as they are in a buffered write."""
    head = b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)
    with path.open("wb") as file:
        file.write(head.ljust(HEADER, b"\0"))
        for offset, data in _joined(picture):
            file.write(struct.pack(">qq", offset, len(data)))
            file.write(data)
        file.write(END)
    return [str(path)]


def _joined(picture: Picture) -> list[tuple[int, bytes]]:
    """Records in the file's order. The bitmaps are written whole, as makedumpfile does, but for what is zero."""
    joined: list[tuple[int, bytearray]] = []
    for offset, data in sorted(kdump.layout(picture)):
        if joined and joined[-1][0] + len(joined[-1][1]) == offset:
            joined[-1][1].extend(data)
        elif data:
            joined.append((offset, bytearray(data)))
    return [(offset, bytes(data)) for offset, data in joined]
