"""The types that a kernel describes in its own memory, found by name, and parsed when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from khodump.abi.btf import (
    BTF_HEADER,
    BTF_HEADER_LAYOUT,
    BTF_LAYOUT,
    BTF_MAGIC,
    BTF_MAX_TYPE,
    BTF_MEMBER_WORDS,
    BTF_TYPE_WORDS,
    EXTRA,
    INT_BITS,
    INT_SIGNED,
    Extra,
    Info,
    Kind,
)
from khodump.abi.layout import dtype_of
from khodump.columns.arrays import I64, U32, AnyArray
from khodump.kernel.lack import Reason, WhyNot

_WORD: Final = 4
_KINDS: Final = 128
_UNKNOWN: Final = Extra(-1, -1)


class RawMember(NamedTuple):
    """A member of a struct or union.

    Attributes:
        name: where its name stands among the strings; 0 for an anonymous one.
        type_id: its type.
        bit: where it begins in the struct, in bits.
        bits: of a bit field; 0 for any other.
    """

    name: int
    type_id: int
    bit: int
    bits: int


class RawType(NamedTuple):
    """One type.

    Attributes:
        kind: what it is.
        vlen: elements that follow.
        kflag: whether its members may be bit fields by themselves.
        value: its size in bytes, or the type that it refers to.
        at: where what follows it stands, in words.
    """

    kind: int
    vlen: int
    kflag: bool
    value: int
    at: int


@dataclass(frozen=True, eq=False)
class Btf:
    """All types of one kernel; type 0 is void.

    Attributes:
        words: of the type section.
        strings: the string section.
        extras: by kind, what follows a type.
    """

    words: U32
    strings: bytes
    extras: Sequence[Extra]

    @cached_property
    def _starts(self) -> I64:
        """Where each type stands, in words: up to the first whose length nobody knows, and which hides all others."""
        words, end = memoryview(self.words.data), len(self.words)
        starts: list[int] = []
        at = 0
        while at + BTF_TYPE_WORDS <= end and len(starts) < BTF_MAX_TYPE:
            info = words[at + 1]
            extra = self.extras[info >> 24 & 0x7F]
            if extra is _UNKNOWN:
                break
            starts.append(at)
            at += BTF_TYPE_WORDS + extra.info + extra.element * (info & 0xFF_FFFF)
        return np.array(starts, np.int64)

    def find(self, name: str, kinds: tuple[Kind, ...]) -> list[int]:
        """The types of this name that are of one of these kinds."""
        offsets = list(self._offsets_of(name.encode() + b"\0"))
        names = self.words[self._starts]
        infos = self.words[self._starts + 1]
        kind_of = infos >> np.uint32(24) & np.uint32(0x7F)
        wanted = np.isin(names, offsets) & np.isin(kind_of, kinds)
        numbers: list[int] = (np.flatnonzero(wanted) + 1).tolist()
        return numbers

    def _offsets_of(self, string: bytes) -> Iterator[int]:
        """Where a string, with its NUL, stands: it may be the end of a longer one."""
        at = self.strings.find(string)
        while at >= 0:
            yield at
            at = self.strings.find(string, at + 1)

    def type(self, type_id: int) -> RawType | None:
        """A type by its number; None for void, and where there is none such."""
        if not 1 <= type_id <= len(self._starts):
            return None
        at = int(self._starts[type_id - 1])
        info = Info.of(int(self.words[at + 1]))
        return RawType(info.kind, info.vlen, info.kflag, int(self.words[at + 2]), at + BTF_TYPE_WORDS)

    def name(self, type_id: int) -> bytes:
        """A type's name; empty for an anonymous one."""
        if not 1 <= type_id <= len(self._starts):
            return b""
        return self.string(int(self.words[int(self._starts[type_id - 1])]))

    def members(self, raw: RawType) -> Iterator[RawMember]:
        """The members of a struct or union, as far as there are words for them."""
        words = self.words[raw.at : raw.at + raw.vlen * BTF_MEMBER_WORDS].tolist()
        for at in range(0, len(words) - BTF_MEMBER_WORDS + 1, BTF_MEMBER_WORDS):
            name, type_id, offset = words[at : at + BTF_MEMBER_WORDS]
            bits = offset >> 24 if raw.kflag else 0
            bit = offset & 0xFF_FFFF if raw.kflag else offset
            yield RawMember(name, type_id, bit, bits)

    def is_named(self, offset: int, name: bytes) -> bool:
        """Whether the string at `offset` is `name`."""
        return self.strings.startswith(name + b"\0", offset)

    def word(self, at: int) -> int:
        """One of the words that follow a type; 0 where the section has ended."""
        return int(self.words[at]) if at < len(self.words) else 0

    def integer(self, raw: RawType) -> tuple[int, bool]:
        """Of an INT: how many bits count, and whether it is signed."""
        encoding = self.word(raw.at)
        return encoding & INT_BITS, bool(encoding & INT_SIGNED)

    def string(self, offset: int) -> bytes:
        """A string by where it stands."""
        end = self.strings.find(b"\0", offset)
        return self.strings[offset:end] if end >= 0 else b""


def parse_btf(data: bytes) -> Btf | WhyNot:
    """The types in the bytes of a .BTF section."""
    if len(data) < BTF_HEADER.size:
        return WhyNot(Reason.NO_BTF, f"the kernel's BTF has {len(data)} bytes, and its header more")
    header = BTF_HEADER.parse(data)
    if header.magic != BTF_MAGIC or header.hdr_len < BTF_HEADER.size:
        return WhyNot(
            Reason.NO_BTF, f"there is no BTF where the kernel's symbols say: it begins with {header.magic:#x}"
        )
    body = data[header.hdr_len :]
    types = body[header.type_off : header.type_off + header.type_len]
    strings = body[header.str_off : header.str_off + header.str_len]
    if len(types) < header.type_len or len(strings) < header.str_len:
        return WhyNot(Reason.DAMAGED, "the kernel's BTF is cut short: it ends before its own sections do")
    words = np.frombuffer(types[: len(types) // _WORD * _WORD], "<u4").astype(np.uint32)
    return Btf(words, strings, _extras(data, header.hdr_len))


def _extras(data: bytes, header_size: int) -> list[Extra]:
    """What follows a type of each kind: as known here, and for other kinds as the kernel itself says (7.3)."""
    extras = [_UNKNOWN] * _KINDS
    for kind, told in enumerate(_told_extras(data, header_size)):
        extras[kind] = Extra(int(told["info_sz"]) // _WORD, int(told["elem_sz"]) // _WORD)
    for kind, known in EXTRA.items():
        extras[kind] = known
    return extras


def _told_extras(data: bytes, header_size: int) -> AnyArray:
    """The kernel's own table of kinds; empty in headers that have none."""
    layout = dtype_of(BTF_LAYOUT)
    if header_size < BTF_HEADER.size + BTF_HEADER_LAYOUT.size or len(data) < header_size:
        return np.zeros(0, layout)
    header = BTF_HEADER_LAYOUT.parse(data[BTF_HEADER.size :])
    start = header_size + header.layout_off
    held = data[start : start + min(header.layout_len, _KINDS * layout.itemsize)]
    return np.frombuffer(held[: len(held) // layout.itemsize * layout.itemsize], layout)
