"""AVML, which is LiME's version 2: every block is a stream of framed snappy, and its packed size follows it."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import BinaryIO

from .picture import Picture

AVAILABLE = importlib.util.find_spec("cramjam") is not None
MAGIC = 0x4C4D5641
LARGEST = 16 << 20


def write(picture: Picture, path: Path) -> list[str]:
    """One file; long ranges are cut into blocks of 16 MiB."""
    with path.open("wb") as file:
        for phys, data in picture.runs():
            for at in range(0, len(data), LARGEST):
                _block(file, phys + at, data[at : at + LARGEST])
    return [str(path)]


def _block(file: BinaryIO, phys: int, data: bytes) -> None:
    from cramjam import snappy  # noqa: PLC0415

    packed = bytes(snappy.compress(data))
    file.write(struct.pack("<IIQQQ", MAGIC, 2, phys, phys + len(data) - 1, 0))
    file.write(packed)
    file.write(struct.pack("<Q", len(packed)))
