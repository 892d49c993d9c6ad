"""The names of kallsyms, expanded: scripts/kallsyms.c compresses them with 256 tokens.

A name is a length and as many token numbers; what they expand to begins with the symbol's type. Expanding all names at
once by columns is faster than expanding one after the other until the wanted ones are met.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from khodump.abi.kallsyms import KALLSYMS_TOKENS, KSYM_NAME_LEN
from khodump.arrays import I64, U8
from khodump.kernel.lack import Reason, WhyNot

#: What stands for a name's length when names are expanded: a NUL, and nothing.
_BREAK: Final = KALLSYMS_TOKENS
_NOTHING: Final = KALLSYMS_TOKENS + 1

#: Names of 600,000 symbols, which take 25 bytes on average; no kernel has so many.
_MOST_TEXT: Final = 16 << 20

#: Clang's ThinLTO makes static symbols global under names of this form.
_SUFFIX: Final = rb"(?:\.llvm\.[0-9]+)?"


@dataclass(frozen=True)
class Names:
    """All names of a kernel.

    Attributes:
        text: a NUL, the type and the name of each, and a last NUL.
        begins: int64, where each begins in `text`: at its NUL.
    """

    text: bytes
    begins: I64

    def numbers(self, name: str) -> list[int]:
        """The numbers of the symbols of this name; of those with a suffix of the compiler's where there are none."""
        plain = re.escape(name.encode())
        for suffix in (b"", _SUFFIX):
            offsets = self._offsets(plain, suffix)
            if offsets:
                numbers: list[int] = np.searchsorted(self.begins, offsets).tolist()
                return numbers
        return []

    def _offsets(self, plain: bytes, suffix: bytes) -> list[int]:
        """Where the names begin that are `plain` and `suffix`, both regular expressions."""
        pattern = re.compile(plain + suffix + rb"\0")
        ends = (match.start() - 2 for match in pattern.finditer(self.text))
        return [at for at in ends if at >= 0 and self.text[at] == 0]


def token_lengths(table: bytes, index: I64) -> I64 | WhyNot:
    """The bytes of each token, of the table that begins with the first one's."""
    nul = np.flatnonzero(np.frombuffer(table, np.uint8) == 0)
    if not len(nul) or int(index.max()) > int(nul[-1]):
        return WhyNot(Reason.DAMAGED, "a token of the kernel's symbol names has no end")
    lengths: I64 = nul[np.searchsorted(nul, index)] - index
    if int(lengths.max()) > KSYM_NAME_LEN:
        return WhyNot(Reason.DAMAGED, "a token of the kernel's symbol names is longer than any name can be")
    return lengths


def starts_of(stream: bytes, count: int) -> tuple[list[int], list[int]] | None:
    """For each of `count` names, where its length stands and where its tokens begin; None where the stream ends before.

    The second list has one more: where the last name ends.
    """
    lengths_at: list[int] = []
    tokens_at: list[int] = []
    at, end = 0, len(stream)
    for _ in range(count):
        if at + 1 >= end:
            return None
        lengths_at.append(at)
        length = stream[at]
        at += 1
        if length & 0x80:  # two bytes, since 6.1: names of Rust are long
            length = length & 0x7F | stream[at] << 7
            at += 1
        tokens_at.append(at)
        at += length
    tokens_at.append(at)
    return (lengths_at, tokens_at) if at <= end else None


def expand(stream: bytes, count: int, table: bytes, index: I64) -> Names | WhyNot:
    """The `count` names in a stream, by the token table and each token's place in it."""
    lengths = token_lengths(table, index)
    if isinstance(lengths, WhyNot):
        return lengths
    starts = starts_of(stream, count)
    if starts is None:
        return WhyNot(Reason.DAMAGED, f"the names of the kernel's symbols end before all {count} were met")
    lengths_at, tokens_at = starts
    codes = np.frombuffer(stream[: tokens_at[-1]], np.uint8).astype(np.int64)
    # The byte before a name's tokens is the only one, or the second, of its length.
    codes[np.array(tokens_at[:-1], np.int64) - 1] = _NOTHING
    codes[np.array(lengths_at, np.int64)] = _BREAK
    every_length = np.concatenate([lengths, np.array([1, 0], np.int64)])
    sizes = every_length[codes]
    ends = np.cumsum(sizes)
    if int(ends[-1]) > _MOST_TEXT:
        return WhyNot(Reason.DAMAGED, "the names of the kernel's symbols are longer than those of any kernel")
    begins = (ends - sizes)[np.array(lengths_at, np.int64)]
    return Names(_gathered(codes, sizes, ends, table, index) + b"\0", begins)


def _gathered(codes: I64, sizes: I64, ends: I64, table: bytes, index: I64) -> bytes:
    """The text of all tokens `codes`, one after the other."""
    # A NUL ends the table, and stands for the break between names.
    places = np.concatenate([index, np.array([len(table) - 1, 0], np.int64)])
    shift = np.repeat(places[codes] - (ends - sizes), sizes)
    letters: U8 = np.frombuffer(table, np.uint8)
    return letters[shift + np.arange(len(shift))].tobytes()
