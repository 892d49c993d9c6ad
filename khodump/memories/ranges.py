"""Raw dumps whose ranges stand in a row without their holes; a file in /proc/iomem's format says where they belong."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Final

from khodump.advice import RANGES, Advice
from khodump.errors import ImageError
from khodump.layouts import Layout, RamMap, cut_short, fitting
from khodump.memories.file import ByteSource
from khodump.memory import RamEnd
from khodump.numbers import format_size

_LINE: Final = re.compile(r"([0-9a-fA-F]+)-([0-9a-fA-F]+) : (.*)")
_RAM: Final = "System RAM"
#: What firmware keeps of RAM, by the names of arch/x86/kernel/e820.c, and of others in any case.
_KEPT: Final = (
    "reserved",
    "soft reserved",
    "acpi tables",
    "acpi non-volatile storage",
    "unusable memory",
    "unknown e820 type",
)
_MAX_BYTES: Final = 1 << 24


def read_ranges(path: str | os.PathLike[str]) -> RamMap:
    """The top-level lines of a file like /proc/iomem: "System RAM", and what firmware reserves.

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
            hint=Advice.of(RANGES, " takes a copy of the dumped machine's /proc/iomem"),
        ) from error
    lines = [match for line in text.splitlines() if (match := _LINE.fullmatch(line.rstrip()))]
    spans = [(int(line[1], 16), int(line[2], 16) + 1, line[3]) for line in lines]
    ram = [(start, end) for start, end, what in spans if what == _RAM]
    kept = [(start, end) for start, end, what in spans if what.lower() in _KEPT]
    if not ram:
        raise ImageError(
            f'{name} has no "System RAM" line',
            hint="save the dumped machine's /proc/iomem, indentation and all",
        )
    if all(span == (0, 1) for span in ram):
        raise ImageError(
            f"{name} has no addresses, only zeros", hint="the kernel shows /proc/iomem's to root only"
        )
    makes_sense = all(start < end <= 1 << 63 for start, end in ram)
    ram.sort()
    if not makes_sense or any(left[1] > right[0] for left, right in pairwise(ram)):
        raise ImageError(f"{name} has a range that makes no sense", hint="save /proc/iomem again")
    return RamMap(tuple(ram), tuple(sorted(kept)), name)


def ram_end(path: str | os.PathLike[str]) -> RamEnd:
    """Where RAM ends, by a file like /proc/iomem.

    Raises:
        ImageError: see `read_ranges`.
    """
    told = read_ranges(path)
    return RamEnd(told.end, f"as {told.source} says", is_told=True)


def layouts(file: ByteSource, path: str | os.PathLike[str]) -> tuple[tuple[Layout, ...], tuple[str, ...]]:
    """How a raw file may hold the memory of `path`, the likeliest first; and a warning when it is too short for it.

    Files of RAM often hold what firmware reserves in it as well; which of the readings adds up to the file's size decides.

    Args:
        file: a raw image.
        path: a file in /proc/iomem's format.

    Raises:
        ImageError: the ranges cannot be read, or the file holds more than they add up to.
    """
    ram = read_ranges(path)
    exact = fitting(ram, file.size)
    literal = [layout for layout in exact if layout.is_literal]
    if exact:
        return tuple(literal[:1] or exact), ()
    total = sum(end - start for start, end in ram.ram)
    sizes = f"{file.name} has {file.size} bytes, the ranges of {ram.source} add up to {total}"
    short = cut_short(ram, file.size)
    if not short or file.size > total:
        raise ImageError(
            f"{sizes}: these are not the ranges of this dump",
            hint=Advice.of("the holes seem to be in the file already; leave ", RANGES, " out")
            if file.size >= ram.end
            else "save /proc/iomem of the dumped machine",
        )
    lost = format_size(total - file.size)
    return tuple(short), (f"{sizes}: the last {lost} are cut off, or these are not its ranges",)
