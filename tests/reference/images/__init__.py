"""A memory as dump files of every kind, by writers of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import avml, elf, flattened, kdump, lime, raw
from .picture import Picture

WRITERS: dict[str, Callable[[Picture, Path], list[str]]] = {
    "elf": elf.write,
    "elf in parts": elf.write_parts,
    "raw": raw.write,
    "raw in parts": raw.write_parts,
    "kdump": kdump.write,
    "flattened kdump": flattened.write,
    "lime": lime.write,
    "avml": avml.write,
}


def suitable(picture: Picture) -> list[str]:
    """The kinds that can hold it: a file or a bitmap as long as all of RAM has its limits."""
    kinds = ["elf", "elf in parts", "lime", "raw in parts"]
    if picture.ram_end <= raw.MOST:
        kinds.append("raw")
    if picture.ram_end <= kdump.MOST:
        kinds += ["kdump", "flattened kdump"]
    if avml.AVAILABLE:
        kinds.append("avml")
    return kinds
