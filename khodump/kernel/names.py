"""The names of kallsyms, expanded: scripts/kallsyms.c compresses them with 256 tokens.

A name is a length and as many token numbers; what they expand to begins with the symbol's type. Expanding all names at
once by columns is faster than expanding one after the other until the wanted ones are met.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from khodump.abi.kallsyms import KALLSYMS_TOKENS, KSYM_NAME_LEN
from khodump.columns.arrays import I32, I64
from khodump.kernel.lack import Reason, WhyNot

#: What stands for a name's length when names are expanded: a NUL, and nothing.
_BREAK: Final = KALLSYMS_TOKENS
_NOTHING: Final = KALLSYMS_TOKENS + 1

#: Names of 600,000 symbols, which take 25 bytes on average; no kernel has so many.
_MOST_TEXT: Final = 16 << 20

#: Clang's ThinLTO makes static symbols global, and adds this and a number to their names.
_SUFFIX: Final = b".llvm."


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
        plain = name.encode()
        begins = list(self._beginning(plain + b"\0"))
        if not begins:
            begins = [at for at in self._beginning(plain + _SUFFIX) if self._has_suffix(at, plain)]
        numbers: list[int] = np.searchsorted(self.begins, begins).tolist()
        return numbers

    def _beginning(self, start: bytes) -> Iterator[int]:
        """Where the names begin that begin with `start`."""
        at = self.text.find(start)
        while at >= 0:
            if at >= 2 and self.text[at - 2] == 0:  # before the name is its type, and before that a NUL
                yield at - 2
            at = self.text.find(start, at + 1)

    def _has_suffix(self, at: int, plain: bytes) -> bool:
        """Whether the name that begins there is `plain` and a suffix."""
        digits_at = at + 2 + len(plain + _SUFFIX)
        end = self.text.find(b"\0", digits_at)
        return self.text[digits_at:end].isdigit()


def token_lengths(table: bytes, index: I64) -> I64 | WhyNot:
    """The bytes of each token, of the table that begins with the first one's."""
    nul = np.flatnonzero(np.frombuffer(table, np.uint8) == 0)
    if not len(nul) or int(index.max()) > int(nul[-1]):
        return WhyNot(Reason.DAMAGED, "a token of the kernel's symbol names has no end")
    # scripts/kallsyms.c writes all tokens one after the other: an index that was damaged would give names no symbol has.
    begins = np.concatenate(([0], nul[: KALLSYMS_TOKENS - 1] + 1))
    if not np.array_equal(begins, index):
        return WhyNot(Reason.DAMAGED, "the tokens of the kernel's symbol names do not follow one another")
    lengths: I64 = nul[np.searchsorted(nul, index)] - index
    if int(lengths.max()) > KSYM_NAME_LEN:
        return WhyNot(Reason.DAMAGED, "a token of the kernel's symbol names is longer than any name can be")
    return lengths


def lengths_at(stream: bytes, count: int) -> list[int] | None:
    """Where the length of each of `count` names stands, and where the last one ends; None where the stream ends before."""
    places: list[int] = []
    at = 0
    try:
        for _ in range(count):
            places.append(at)
            length = stream[at]
            if length & 0x80:  # two bytes, since 6.1: names of Rust are long
                at += 2 + (length & 0x7F | stream[at + 1] << 7)
            else:
                at += 1 + length
    except IndexError:
        return None
    places.append(at)
    return places if at <= len(stream) else None


def expand(stream: bytes, count: int, table: bytes, index: I64) -> Names | WhyNot:
    """The `count` names in a stream, by the token table and each token's place in it."""
    token_sizes = token_lengths(table, index)
    if isinstance(token_sizes, WhyNot):
        return token_sizes
    places = lengths_at(stream, count)
    if places is None:
        return WhyNot(Reason.DAMAGED, f"the names of the kernel's symbols end before all {count} were met")
    heads = np.array(places[:-1], np.int64)
    codes = np.frombuffer(stream[: places[-1]], np.uint8).astype(np.int16)
    codes[heads[codes[heads] >= 0x80] + 1] = _NOTHING
    codes[heads] = _BREAK
    sizes = np.append(token_sizes, (1, 0)).astype(np.int32)[codes]
    if int(sizes.sum(dtype=np.int64)) > _MOST_TEXT:
        return WhyNot(Reason.DAMAGED, "the names of the kernel's symbols are longer than those of any kernel")
    # The NUL that ends the table stands for the break between names.
    token_places = np.append(index, (len(table) - 1, 0)).astype(np.int32)
    begins = np.cumsum(sizes, dtype=np.int32) - sizes
    text = _gathered(token_places[codes] - begins, sizes, table)
    return Names(text + b"\0", begins[heads].astype(np.int64))


def _gathered(shifts: I32, sizes: I32, table: bytes) -> bytes:
    """The tokens one after the other: of each, how far it is shifted to where it stands in the table, and its size."""
    every_shift = np.repeat(shifts, sizes)
    letters = np.frombuffer(table, np.uint8)
    text: bytes = letters[every_shift + np.arange(len(every_shift), dtype=np.int32)].tobytes()
    return text
