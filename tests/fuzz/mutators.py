"""How mutants are made.

A mutant of a file is the file with bytes changed anywhere. A mutant of a memory is a program: records of 16 bytes, each
of which does something to a page (`Op`). So a coverage-guided fuzzer learns to damage structures, not bytes of files.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from random import Random
from typing import Final, Literal

PAGE: Final = 4096
RECORD: Final = struct.Struct("<HHIQ")
MAX_RECORDS: Final = 64
_WORDS: Final = PAGE // 8
_MASK: Final = (1 << 64) - 1
_ORDERS: Final[tuple[Literal["little", "big"], ...]] = ("little", "big")
#: Values at which something may go wrong.
EDGES: Final = (
    0,
    1,
    2,
    8,
    511,
    512,
    4095,
    4096,
    4097,
    65536,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 40,
    1 << 44,
    1 << 52,
    1 << 60,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 65536,
    (1 << 64) - 4096,
    (1 << 64) - 1,
)


class Op(IntEnum):
    """What a record does to the word (or page) that it names."""

    STORE = 0
    STORE_ALIGNED = 1
    POINT = 2  # to a page of the image
    POINT_INTO = 3
    FLIP = 4
    SMALL = 5
    EDGE = 6
    GRAFT = 7  # another page over this one
    SWAP = 8
    LOSE = 9
    FILL = 10  # the rest of the page with one value
    FILL_POINT = 11  # or with pointers to one page
    SPLICE = 12  # words of another page
    BYTE = 13
    ADD = 14
    HALVES = 15  # a small number into each half


def programs(rng: Random, count: int | None = None) -> bytes:
    """A program of a few records."""
    count = count or rng.choice((1, 1, 1, 2, 2, 3, 5, 12))
    return b"".join(
        RECORD.pack(rng.getrandbits(16), rng.getrandbits(16), rng.getrandbits(32), rng.getrandbits(64))
        for _ in range(count)
    )


def execute(program: bytes, data: bytearray, pages: Sequence[tuple[int, int]]) -> frozenset[int]:
    """Carry out a program on `data`; returns the addresses of the pages that are lost.

    Args:
        program: records; half a record at the end does nothing.
        data: is changed.
        pages: (physical address, offset in `data`) of each page.
    """
    lost: set[int] = set()
    for record in list(RECORD.iter_unpack(program[: len(program) // RECORD.size * RECORD.size]))[
        :MAX_RECORDS
    ]:
        page, word, extra, value = record
        phys, offset = pages[page % len(pages)]
        op = Op(word >> 9 & 15)
        other_phys, other = pages[extra % len(pages)]
        at = offset + (word & (_WORDS - 1)) * 8
        old = int.from_bytes(data[at : at + 8], "little")
        if op is Op.LOSE:
            lost.add(phys)
        elif op is Op.GRAFT:
            data[offset : offset + PAGE] = data[other : other + PAGE]
        elif op is Op.SWAP:
            mine = bytes(data[offset : offset + PAGE])
            data[offset : offset + PAGE] = data[other : other + PAGE]
            data[other : other + PAGE] = mine
        elif op is Op.SPLICE:
            size = min(8 * (1 + value % 64), offset + PAGE - at)
            data[at : at + size] = data[other + at - offset : other + at - offset + size]
        elif op in (Op.FILL, Op.FILL_POINT):
            filler = value if op is Op.FILL else other_phys
            data[at : offset + PAGE] = filler.to_bytes(8, "little") * ((offset + PAGE - at) // 8)
        elif op is Op.BYTE:
            data[at + value % 8] = extra & 0xFF
        else:
            data[at : at + 8] = _word(op, old, value, extra, other_phys).to_bytes(8, "little")
    return frozenset(lost)


def _word(op: Op, old: int, value: int, extra: int, other: int) -> int:
    """What a word becomes."""
    return {
        Op.STORE: value,
        Op.STORE_ALIGNED: value & ~(PAGE - 1),
        Op.POINT: other,
        Op.POINT_INTO: other + value % PAGE,
        Op.FLIP: old ^ 1 << value % 64,
        Op.SMALL: value % 1024,
        Op.EDGE: EDGES[value % len(EDGES)],
        Op.ADD: old + EDGES[value % len(EDGES)] & _MASK,
        Op.HALVES: value % 64 << 32 | extra % 1024,
    }[op]


def damaged(rng: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A file with bytes changed, cut, repeated, or taken from another."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not out:
            break
        _DAMAGE[rng.randrange(len(_DAMAGE))](rng, out, others)
    return bytes(out)


def _place(rng: Random, out: bytearray, align: int = 1) -> int:
    """A place in a file, more often in its head."""
    end = min(len(out), 256) if rng.random() < 0.4 else len(out)
    return rng.randrange(end) // align * align


def _flip(rng: Random, out: bytearray, _: Sequence[bytes]) -> None:
    out[_place(rng, out)] ^= 1 << rng.randrange(8)


def _byte(rng: Random, out: bytearray, _: Sequence[bytes]) -> None:
    out[_place(rng, out)] = rng.randrange(256)


def _number(rng: Random, out: bytearray, _: Sequence[bytes]) -> None:
    size = rng.choice((2, 4, 4, 8, 8))
    value = rng.choice((*EDGES, rng.getrandbits(64), rng.getrandbits(32), rng.randrange(1 << 16), len(out)))
    at = _place(rng, out, rng.choice((1, size)))
    raw = (value & (1 << 8 * size) - 1).to_bytes(size, rng.choice(("little", "big")))
    out[at : at + size] = raw[: len(out) - at]


def _nudge(rng: Random, out: bytearray, _: Sequence[bytes]) -> None:
    size = rng.choice((2, 4, 8))
    order = rng.choice(_ORDERS)
    at = _place(rng, out, size)
    old = int.from_bytes(out[at : at + size], order)
    raw = (old + rng.randrange(-32, 33) & (1 << 8 * size) - 1).to_bytes(size, order)
    out[at : at + size] = raw[: len(out) - at]


def _cut(rng: Random, out: bytearray, _: Sequence[bytes]) -> None:
    del out[rng.randrange(len(out)) :]


def _drop(rng: Random, out: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, out)
    del out[at : at + rng.choice((1, 4, 8, 24, 512, PAGE))]


def _repeat(rng: Random, out: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, out)
    out[at:at] = out[at : at + rng.choice((4, 8, 32, 56, PAGE))]


def _zero(rng: Random, out: bytearray, _: Sequence[bytes]) -> None:
    at, size = _place(rng, out), rng.choice((4, 8, 64, PAGE))
    out[at : at + size] = bytes(min(size, len(out) - at))


def _swap(rng: Random, out: bytearray, _: Sequence[bytes]) -> None:
    size = rng.choice((4, 8, 24, 56, PAGE))
    one, two = rng.randrange(len(out)), rng.randrange(len(out))
    size = min(size, len(out) - max(one, two))
    out[one : one + size], out[two : two + size] = out[two : two + size], out[one : one + size]


def _splice(rng: Random, out: bytearray, others: Sequence[bytes]) -> None:
    other = rng.choice(others) if others else bytes(out)
    if other:
        at, size = rng.randrange(len(other)), rng.choice((4, 8, 64, PAGE, len(other)))
        to = _place(rng, out)
        part = other[at : at + size]
        out[to : to + len(part)] = part


_DAMAGE: Final = (
    _flip,
    _flip,
    _byte,
    _number,
    _number,
    _number,
    _nudge,
    _cut,
    _drop,
    _repeat,
    _zero,
    _swap,
    _splice,
)
