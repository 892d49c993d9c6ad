"""include/uapi/linux/btf.h: the BPF Type Format, in which a kernel describes its own structures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import construct

from khodump.abi.layout import Layout, u8, u16, u32

BTF_MAGIC: Final = 0xEB9F

#: The highest number of a type.
BTF_MAX_TYPE: Final = 0xF_FFFF


@dataclass(frozen=True, slots=True)
class BtfHeader:
    """struct btf_header as it has always been; offsets are from its end, wherever hdr_len says that is."""

    magic: u16
    version: u8
    flags: u8
    hdr_len: u32
    type_off: u32
    type_len: u32
    str_off: u32
    str_len: u32


BTF_HEADER: Final = Layout(BtfHeader)


@dataclass(frozen=True, slots=True)
class BtfHeaderLayout:
    """What follows in a header of 32 bytes (7.3): where a struct btf_layout for each kind is."""

    layout_off: u32
    layout_len: u32


BTF_HEADER_LAYOUT: Final = Layout(BtfHeaderLayout)

#: struct btf_layout: bytes that follow a type of this kind, and bytes of each of its elements.
BTF_LAYOUT: Any = construct.Struct(
    "info_sz" / construct.Int8ul, "elem_sz" / construct.Int8ul, "flags" / construct.Int16ul
)

#: Words (u32) of struct btf_type: name, info, and size or type.
BTF_TYPE_WORDS: Final = 3
#: Words of struct btf_member: name, type, offset.
BTF_MEMBER_WORDS: Final = 3
#: Words of struct btf_array: element type, index type, number of elements.
BTF_ARRAY_WORDS: Final = 3


class Kind(IntEnum):
    """BTF_KIND_*."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class Extra(NamedTuple):
    """What follows a type: words of its own, and words for each of its vlen elements."""

    info: int
    element: int


_NO_EXTRA: Final = Extra(0, 0)

#: By kind.
EXTRA: Final = {
    Kind.INT: Extra(1, 0),
    Kind.PTR: _NO_EXTRA,
    Kind.ARRAY: Extra(BTF_ARRAY_WORDS, 0),
    Kind.STRUCT: Extra(0, BTF_MEMBER_WORDS),
    Kind.UNION: Extra(0, BTF_MEMBER_WORDS),
    Kind.ENUM: Extra(0, 2),
    Kind.FWD: _NO_EXTRA,
    Kind.TYPEDEF: _NO_EXTRA,
    Kind.VOLATILE: _NO_EXTRA,
    Kind.CONST: _NO_EXTRA,
    Kind.RESTRICT: _NO_EXTRA,
    Kind.FUNC: _NO_EXTRA,
    Kind.FUNC_PROTO: Extra(0, 2),
    Kind.VAR: Extra(1, 0),
    Kind.DATASEC: Extra(0, 3),
    Kind.FLOAT: _NO_EXTRA,
    Kind.DECL_TAG: Extra(1, 0),
    Kind.TYPE_TAG: _NO_EXTRA,
    Kind.ENUM64: Extra(0, 3),
}

#: Kinds that add nothing to the type they refer to but a name or a promise.
MODIFIERS: Final = (Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG)


class Info(NamedTuple):
    """btf_type.info, with the wider masks of 7.3: older kernels leave the added bits zero."""

    kind: int
    vlen: int
    kflag: bool

    @classmethod
    def of(cls, word: int) -> Info:
        """From its 32 bits."""
        return cls(word >> 24 & 0x7F, word & 0xFF_FFFF, bool(word >> 31))


#: The encodings of an INT, in the word that follows: signed, and how many bits.
INT_SIGNED: Final = 1 << 24
INT_BITS: Final = 0xFF
