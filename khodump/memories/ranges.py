"""Raw dumps whose ranges stand in a row without their holes; a file in /proc/iomem's format says where they belong."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from khodump.errors import ImageError
from khodump.memories.file import ByteSource
from khodump.memories.segments import Segments
from khodump.memory import Presence, RamEnd
from khodump.numbers import format_size

_RAM: Final = re.compile(r"([0-9a-fA-F]+)-([0-9a-fA-F]+) : System RAM")
_MAX_BYTES: Final = 1 << 24


def read_ranges(path: str | os.PathLike[str]) -> list[tuple[int, int]]:
    """The top-level "System RAM" ranges of a file like /proc/iomem, as physical bytes (start, end exclusive).

    Raises:
        ImageError: it cannot be read, or tells no addresses.
    """
    name = os.fspath(path)
    try:
        with Path(name).open("rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ImageError(
            f"cannot read {name}: {error.strerror}",
            hint="--ranges takes a copy of the dumped machine's /proc/iomem",
        ) from error
    found = [match for line in text.splitlines() if (match := _RAM.fullmatch(line.rstrip()))]
    ranges = [(int(match[1], 16), int(match[2], 16) + 1) for match in found]
    if not found:
        raise ImageError(
            f'{name} has no "System RAM" line',
            hint="save the dumped machine's /proc/iomem, indentation and all",
        )
    if all(span == (0, 1) for span in ranges):
        raise ImageError(
            f"{name} has no addresses, only zeros", hint="the kernel shows /proc/iomem's to root only"
        )
    if any(left >= right or right > 1 << 63 for left, right in ranges):
        raise ImageError(f"{name} has a range that makes no sense", hint="save /proc/iomem again")
    return ranges


def ram_end(path: str | os.PathLike[str]) -> RamEnd:
    """Where RAM ends, by a file like /proc/iomem.

    Raises:
        ImageError: see `read_ranges`.
    """
    end = max(end for _, end in read_ranges(path))
    return RamEnd(end, f"as {os.fspath(path)} says", is_told=True)


def segments(file: ByteSource, index: int, path: str | os.PathLike[str]) -> tuple[Segments, tuple[str, ...]]:
    """The ranges of `path`, taken from `file` one after the other; and a warning when the file is too short for them.

    Args:
        file: a raw image.
        index: the number that stands for `file` in the segments.
        path: a file in /proc/iomem's format.

    Raises:
        ImageError: the ranges cannot be read, or the file holds more than they add up to.
    """
    ranges = read_ranges(path)
    total = sum(end - start for start, end in ranges)
    sizes = f"{file.name} has {file.size} bytes, the ranges of {os.fspath(path)} add up to {total}"
    if file.size > total:
        padded = file.size >= max(end for _, end in ranges)
        raise ImageError(
            f"{sizes}: these are not the ranges of this dump",
            hint="the holes seem to be in the file already; leave --ranges out"
            if padded
            else "save /proc/iomem of the dumped machine",
        )
    rows: list[tuple[int, int, Presence, int, int]] = []
    at = 0
    for start, end in ranges:
        held = min(end - start, file.size - at)
        rows.append((start, start + held, Presence.PRESENT, index, at))
        rows.append((start + held, end, Presence.TRUNCATED, index, at))
        at += held
    short = f"{sizes}: the last {format_size(total - file.size)} are cut off, or these are not its ranges"
    return Segments.of(rows), (short,) if file.size < total else ()
