"""Numbers as people write them on a command line, and sizes as people read them."""

from __future__ import annotations

import re
from typing import Final

from khodump.errors import UsageError

_SUFFIXES: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_NUMBER: Final = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)([KMGTkmgt]?)(?:i?[bB])?")
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def parse_number(text: str) -> int:
    """An integer in decimal or 0x hex, with an optional K, M, G or T (powers of 1024).

    Raises:
        UsageError: `text` is no such number, or does not fit in 64 bits.
    """
    match = _NUMBER.fullmatch(text.strip())
    # After 0x, a trailing b or B is a digit; the greedy pattern has taken it as one.
    value = (
        int(match[1], 0 if match[1][:2] in ("0x", "0X") else 10) << _SUFFIXES[match[2].upper()]
        if match
        else -1
    )
    if not 0 <= value < 1 << 64:
        raise UsageError(f"{text} is no number", hint="write 4096, 0x1000, 4K, 2M or 1G")
    return value


def parse_range(text: str) -> tuple[int, int]:
    """`START-END` as two numbers, END exclusive.

    Raises:
        UsageError: `text` is no such range, or it is empty.
    """
    first, dash, last = text.partition("-")
    if not dash:
        raise UsageError(
            f"{text} is no range", hint="write START-END, such as 0x40000000-0x80000000 or 1G-2G"
        )
    start, end = parse_number(first), parse_number(last)
    if end <= start:
        raise UsageError(
            f"the range {text} is empty: END is exclusive and must be above START",
            hint=f"{start:#x}-{end + 1:#x} would hold one byte" if end == start else f"write {last}-{first}",
        )
    return start, end


def format_size(size: int) -> str:
    """A byte count in the largest unit that keeps it above 1, such as `4 KiB` or `37.1 MiB`."""
    power = min(max(size.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    value = f"{size / (1 << 10 * power):.1f}".removesuffix(".0")
    return f"{value} {_UNITS[power]}"
