"""Numbers as people write them on a command line, and sizes as people read them."""

from __future__ import annotations

import re
from typing import Final

from khodump.errors import UsageError

#: What fits in 64 bits.
MOST: Final = (1 << 64) - 1

_LONGEST: Final = 80  # characters
_SHOWN: Final = 32
_SUFFIXES: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_NUMBER: Final = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)([KMGTkmgt]?)(?:i?[bB])?")
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def parse_number(text: str, what: str = "", *, least: int = 0, most: int = MOST) -> int:
    """An integer in decimal or 0x hex, with an optional K, M, G or T (powers of 1024).

    Args:
        text: as it was written.
        what: whose value it is, for the message: an option, a file.
        least: the smallest that makes sense.
        most: the largest.

    Raises:
        UsageError: `text` is no such number, or out of bounds.
    """
    said = f"{what}: {shortened(text)}" if what else shortened(text)
    # Nothing that is longer is a number below 2^64; Python refuses to read thousands of digits, with an error of its own.
    match = _NUMBER.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        raise UsageError(f"{said} is no number", hint=_hint(least, most))
    # After 0x, a trailing b or B is a digit; the greedy pattern has taken it as one.
    base = 0 if match[1][:2] in ("0x", "0X") else 10
    value = int(match[1], base) << _SUFFIXES[match[2].upper()]
    if value > most:
        raise UsageError(f"{said} is too large", hint=_hint(least, most))
    if value < least:
        raise UsageError(f"{said} is too small", hint=_hint(least, most))
    return value


def parse_range(text: str, what: str = "") -> tuple[int, int]:
    """`START-END` as two numbers, END exclusive; `what` as for `parse_number`.

    Raises:
        UsageError: `text` is no such range, or it is empty.
    """
    said = f"{what}: {shortened(text)}" if what else shortened(text)
    first, dash, last = text.partition("-")
    if not dash:
        raise UsageError(
            f"{said} is no range", hint="write START-END, such as 0x40000000-0x80000000 or 1G-2G"
        )
    start, end = parse_number(first, what), parse_number(last, what)
    if end <= start:
        raise UsageError(
            f"{said} is an empty range: END is exclusive and must be above START",
            hint=f"{start:#x}-{end + 1:#x} would hold one byte" if end == start else f"write {last}-{first}",
        )
    return start, end


def parse_order(text: str) -> int:
    """The order of a block, as --order takes it: no more than an address has bits.

    Raises:
        UsageError: `text` is no such number.
    """
    return parse_number(text, "--order", most=63)


def shortened(text: str) -> str:
    """A value for a message: its beginning and its length, where it would fill the screen."""
    if len(text) <= _LONGEST:
        return text or "the empty text"
    return f"{text[:_SHOWN]}... ({len(text)} characters)"


def _hint(least: int, most: int) -> str:
    if most < MOST:
        return f"write a number from {least} to {most}"
    return "write a number below 2^64: 4096, 0x1000, 4K, 2M or 1G"


def format_size(size: int) -> str:
    """A byte count in the largest unit that keeps it above 1, such as `4 KiB` or `37.1 MiB`."""
    power = min(max(size.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    value = f"{size / (1 << 10 * power):.1f}".removesuffix(".0")
    return f"{value} {_UNITS[power]}"
