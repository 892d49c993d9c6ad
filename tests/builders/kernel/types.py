"""C types in the making: how a compiler lays structures out, and what pahole writes of them as BTF."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

MAGIC = 0xEB9F


@dataclass(frozen=True)
class Int:
    """An integer of `size` bytes, of which `bits` count in a bit field."""

    name: str
    size: int
    signed: bool = False
    bits: int = 0


@dataclass(frozen=True)
class Pointer:
    """A pointer to a struct by its name, or to nothing in particular."""

    to: str | None = None


@dataclass(frozen=True)
class Array:
    """`count` elements."""

    element: Type
    count: int


@dataclass(frozen=True)
class Alias:
    """Another name (typedef), or const or volatile where it has none."""

    of: Type
    name: str | None = None


@dataclass(frozen=True)
class Nested:
    """A named struct within another."""

    name: str


@dataclass(frozen=True)
class Anonymous:
    """A struct or union without a name."""

    members: tuple[tuple[str, Type], ...]
    is_union: bool = False


Type: TypeAlias = Int | Pointer | Array | Alias | Nested | Anonymous

CHAR = Int("char", 1)
BOOL = Int("_Bool", 1)
INT = Int("int", 4, signed=True)
UINT = Int("unsigned int", 4)
LONG = Int("long int", 8, signed=True)
ULONG = Int("long unsigned int", 8)
U64 = Alias(Int("long long unsigned int", 8), "u64")
PHYS = Alias(Alias(ULONG, "u64"), "phys_addr_t")
LIST = Nested("list_head")

Structs: TypeAlias = Mapping[str, tuple[tuple[str, Type], ...]]


@dataclass(frozen=True)
class Place:
    """Where a member is: bytes from the beginning, and for bit fields the bits below it."""

    offset: int
    type: Type
    shift: int = 0


@dataclass
class Types:
    """The structs of one kernel, by name."""

    structs: Structs
    _laid: dict[str, tuple[dict[str, Place], int, int]] = field(default_factory=dict)

    def size(self, name: str) -> int:
        """Bytes of a struct."""
        return self._layout(name)[1]

    def place(self, struct_name: str, path: str) -> Place:
        """Where the member of this path is."""
        members = self._layout(struct_name)[0]
        first, _, rest = path.partition(".")
        here = members[first]
        if not rest:
            return here
        inner = here.type
        while isinstance(inner, Alias):
            inner = inner.of
        assert isinstance(inner, Nested)
        below = self.place(inner.name, rest)
        return Place(here.offset + below.offset, below.type, below.shift)

    def offset(self, struct_name: str, path: str) -> int:
        """Bytes to the member of this path."""
        return self.place(struct_name, path).offset

    def pack(self, name: str, values: Mapping[str, int | bytes]) -> bytes:
        """A struct with these members, and zeros elsewhere."""
        data = bytearray(self.size(name))
        for path, value in values.items():
            place = self.place(name, path)
            size = self.size_of(place.type)
            if isinstance(value, bytes):
                assert len(value) <= size
                data[place.offset : place.offset + len(value)] = value
            else:
                old = int.from_bytes(data[place.offset : place.offset + size], "little")
                new = old | (value % (1 << size * 8)) << place.shift
                data[place.offset : place.offset + size] = (new % (1 << size * 8)).to_bytes(size, "little")
        return bytes(data)

    def size_of(self, kind: Type) -> int:
        """Bytes of any type."""
        if isinstance(kind, Int):
            return kind.size
        if isinstance(kind, Pointer):
            return 8
        if isinstance(kind, Array):
            return kind.count * self.size_of(kind.element)
        if isinstance(kind, Alias):
            return self.size_of(kind.of)
        if isinstance(kind, Nested):
            return self.size(kind.name)
        return self.layout_of(kind.members, is_union=kind.is_union)[1]

    def _align_of(self, kind: Type) -> int:
        if isinstance(kind, Array):
            return self._align_of(kind.element)
        if isinstance(kind, Alias):
            return self._align_of(kind.of)
        if isinstance(kind, Nested):
            return self._layout(kind.name)[2]
        if isinstance(kind, Anonymous):
            return self.layout_of(kind.members, is_union=kind.is_union)[2]
        return self.size_of(kind)

    def _layout(self, name: str) -> tuple[dict[str, Place], int, int]:
        if name not in self._laid:
            self._laid[name] = self.layout_of(self.structs[name])
        return self._laid[name]

    def layout_of(
        self, members: tuple[tuple[str, Type], ...], *, is_union: bool = False
    ) -> tuple[dict[str, Place], int, int]:
        """Members by name with those of anonymous ones, then size and alignment."""
        places: dict[str, Place] = {}
        bit = size = 0
        alignment = 1
        for number, (name, kind) in enumerate(members):
            align, length = self._align_of(kind), self.size_of(kind)
            bits = kind.bits if isinstance(kind, Int) else 0
            start = 0 if is_union else bit
            if not bits or start // 8 // length * length * 8 + length * 8 < start + bits:
                start = -(-start // (align * 8)) * align * 8
            unit = start // 8 // length * length if bits else start // 8
            places[name or f"<{number}>"] = Place(unit, kind, start - unit * 8)
            if isinstance(kind, Anonymous):
                inner = self.layout_of(kind.members, is_union=kind.is_union)[0]
                for path, place in inner.items():
                    places.setdefault(path, Place(unit + place.offset, place.type, place.shift))
            bit = start + (bits or length * 8)
            size = max(size, -(-bit // 8))
            alignment = max(alignment, align)
        return places, -(-size // alignment) * alignment, alignment


class BtfWriter:
    """Writes .BTF sections; types are numbered from 1 in the order in which they are met."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self._records: list[bytes] = []
        self._strings = bytearray(b"\0")
        self._known: dict[Type, int] = {}
        self._structs: dict[str, int] = {}

    def build(self, *, header_size: int = 24, before: bytes = b"", layout: bytes = b"") -> bytes:
        """The whole section; `before` stands in front of all types, `layout` behind the strings."""
        for name in self._types.structs:
            self._struct(name)
        records = before + b"".join(self._records)
        strings = bytes(self._strings)
        sizes = (0, len(records), len(records), len(strings))
        header = struct.pack("<HBBIIIII", MAGIC, 1, 0, header_size, *sizes)
        if header_size >= 32:
            header += struct.pack("<II", len(records) + len(strings), len(layout))
        return header.ljust(header_size, b"\0") + records + strings + layout

    def _string(self, text: str) -> int:
        if not text:
            return 0
        at = len(self._strings)
        self._strings += text.encode() + b"\0"
        return at

    def _add(
        self, name: str, kind: int, value: int, extra: bytes = b"", vlen: int = 0, kflag: int = 0
    ) -> int:
        info = kflag << 31 | kind << 24 | vlen
        self._records.append(struct.pack("<III", self._string(name), info, value) + extra)
        return len(self._records)

    def _struct(self, name: str) -> int:
        """The number of a struct; one that the kernel does not describe is declared and no more."""
        if name not in self._types.structs:
            return self._add(name, 7, 0)
        if name not in self._structs:
            # The number is needed before its members are met: they may point back.
            self._records.append(b"")
            number = self._structs[name] = len(self._records)
            self._records[number - 1] = self._composite(name, self._types.structs[name], is_union=False)
        return self._structs[name]

    def _composite(self, name: str, members: tuple[tuple[str, Type], ...], *, is_union: bool) -> bytes:
        places, size, _ = self._types.layout_of(members, is_union=is_union)
        has_bits = any(isinstance(kind, Int) and kind.bits for _, kind in members)
        rows = b""
        for number, (member, kind) in enumerate(members):
            place = places[member or f"<{number}>"]
            bits = kind.bits if isinstance(kind, Int) else 0
            offset = place.offset * 8 + place.shift | bits << 24
            plain = Int(kind.name, kind.size, kind.signed) if isinstance(kind, Int) else kind
            rows += struct.pack("<III", self._string(member), self.number(plain), offset)
        info = int(has_bits) << 31 | (5 if is_union else 4) << 24 | len(members)
        return struct.pack("<III", self._string(name), info, size) + rows

    def number(self, kind: Type) -> int:
        """The number of a type, which is written when it is met first."""
        if isinstance(kind, Nested):
            return self._struct(kind.name)
        if kind not in self._known:
            self._known[kind] = self._written(kind)
        return self._known[kind]

    def _written(self, kind: Type) -> int:
        if isinstance(kind, Int):
            encoding = int(kind.signed) << 24 | kind.size * 8
            return self._add(kind.name, 1, kind.size, struct.pack("<I", encoding))
        if isinstance(kind, Pointer):
            target = self._struct(kind.to) if kind.to else 0
            return self._add("", 2, target)
        if isinstance(kind, Array):
            element = self.number(kind.element)
            return self._add("", 3, 0, struct.pack("<III", element, self.number(UINT), kind.count))
        if isinstance(kind, Alias):
            return self._add(kind.name or "", 8 if kind.name else 10, self.number(kind.of))
        assert isinstance(kind, Anonymous)
        self._records.append(b"")
        number = len(self._records)
        self._records[number - 1] = self._composite("", kind.members, is_union=kind.is_union)
        return number
