"""Whole columns of integers as lines of text at once: millions of rows, and no Python object a row.

The lines are a matrix of characters, which begins as copies of what all of them share. Numbers are cut into groups of
digits, and a table gives the text of each group. Cells shorter than their column leave blanks, which are dropped last.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final, TypeAlias

import numpy as np

from khodump.columns.arrays import U8, U64, AnyArray
from khodump.rounding import round_up
from khodump.rows import Block, Kind, Rows

_NUMBERS: Final = (Kind.ADDRESS, Kind.COUNT, Kind.SIZE)
_DIGITS: Final = b"0123456789abcdef"
_GROUPS: Final = (4, 2, 1)  # digits looked up at once: as many bytes as numpy moves at once
_BLANK: Final = 0

#: Some characters of every line: the same in all, or an array with an item a line.
_Piece: TypeAlias = bytes | AnyArray


def integer_lines(block: Block, rows: Rows, separator: str) -> str | None:
    """The lines of a block, cells apart by `separator`: addresses in hex, other numbers in decimal.

    None where a column is no array of unsigned integers.
    """
    pieces: list[_Piece] = []
    for values, column in zip(block, rows.columns, strict=True):
        if not isinstance(values, np.ndarray) or values.dtype.kind != "u" or column.kind not in _NUMBERS:
            return None
        if not len(values):
            return ""
        pieces += [*_cell(values, column.kind), separator.encode()]
    pieces[-1] = b"\n"
    return _joined(pieces, len(block[0]))


def _joined(pieces: list[_Piece], count: int) -> str:
    """`count` lines, made of these pieces from left to right."""
    widths = [len(piece) if isinstance(piece, bytes) else piece.dtype.itemsize for piece in pieces]
    shared = (
        piece if isinstance(piece, bytes) else bytes(width)
        for piece, width in zip(pieces, widths, strict=True)
    )
    text = np.frombuffer(bytearray(b"".join(shared) * count), np.uint8)
    lines, at = text.reshape(count, -1), 0
    for piece, width in zip(pieces, widths, strict=True):
        if not isinstance(piece, bytes):
            lines[:, at : at + width].view(piece.dtype)[:, 0] = piece
        at += width
    return str((text if text.all() else text[text != _BLANK]).data, "ascii")


def _cell(values: AnyArray, kind: Kind) -> Iterator[_Piece]:
    """A column of numbers, from left to right."""
    base, form = (16, "x") if kind is Kind.ADDRESS else (10, "d")
    low, high = (format(int(number), form) for number in (values.min(), values.max()))
    if kind is Kind.ADDRESS:
        yield b"0x"
    wide = values.astype(np.uint64, copy=False)
    for width in range(len(high), len(low), -1):
        place = np.uint64(base ** (width - 1))
        digit = _group(base, 1)[(wide // place % np.uint64(base)).view(np.int64)]
        yield np.where(wide < place, np.uint8(_BLANK), digit)
    same = 0  # leading digits that all numbers share
    while len(low) == len(high) and low[: same + 1] == high[: same + 1] and same < len(low):
        same += 1
    others = min(round_up(len(low) - same, _GROUPS[0]), len(low))  # whole groups are the fastest
    yield low[: len(low) - others].encode()
    yield from _lowest(wide, base, others)


def _lowest(values: U64, base: int, width: int) -> list[_Piece]:
    """The lowest `width` digits of each number, from left to right."""
    pieces: list[_Piece] = []
    for size in _GROUPS:
        unit = np.uint64(base**size)
        while width >= size:
            rest = values // unit
            pieces.append(_group(base, size)[(values - rest * unit).view(np.int64)])
            values, width = rest, width - size
    return pieces[::-1]


@cache
def _group(base: int, size: int) -> AnyArray:
    """The text of every number of `size` digits, as an unsigned integer of as many bytes."""
    digits: U8 = np.frombuffer(_DIGITS[:base], np.uint8)
    text = np.stack(np.meshgrid(*[digits] * size, indexing="ij"), axis=-1)
    return text.reshape(-1, size).view(f"u{size}").reshape(-1)
