"""LiME: a header of 32 bytes before every range."""

from __future__ import annotations

import struct
from pathlib import Path

from .picture import Picture

MAGIC = 0x4C694D45


def write(picture: Picture, path: Path) -> list[str]:
    """One file. The end of a range is its last byte."""
    with path.open("wb") as file:
        for phys, data in picture.runs():
            file.write(struct.pack("<IIQQQ", MAGIC, 1, phys, phys + len(data) - 1, 0))
            file.write(data)
    return [str(path)]
