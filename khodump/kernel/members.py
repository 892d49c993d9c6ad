"""A member of a structure by its path, such as `file_set.count`: where it is, and how large."""

from __future__ import annotations

from typing import Final, NamedTuple

from khodump.abi.btf import MODIFIERS, Kind
from khodump.kernel.btf import Btf, RawMember, RawType
from khodump.kernel.lack import Reason, WhyNot
from khodump.rounding import ceil_div

_POINTER: Final = 8
#: Far above the typedefs and qualifiers, and the anonymous structs and arrays, that any kernel puts into each other.
_MOST_HOPS: Final = 64
_STRUCTURES: Final = (Kind.STRUCT, Kind.UNION)
_SIZED: Final = (Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.FLOAT)


class Member(NamedTuple):
    """Where a member is in its structure.

    Attributes:
        offset: bytes from the structure's beginning.
        size: bytes that it touches.
        type_id: its type.
        shift: bits of these bytes below it.
        bits: of it; 0 where it is no bit field.
        signed: whether it is a signed integer.
    """

    offset: int
    size: int
    type_id: int
    shift: int = 0
    bits: int = 0
    signed: bool = False


def member_at(btf: Btf, struct_id: int, path: str) -> Member | WhyNot:
    """The member of a struct that is named by `path`; anonymous structs and unions on the way are not."""
    type_id, bit = struct_id, 0
    member = None
    for name in path.split("."):
        member = _named(btf, type_id, name.encode(), set())
        if member is None:
            struct = btf.name(struct_id).decode("utf-8", "replace")
            message = f"this kernel's struct {struct} has no member {path}"
            return WhyNot(Reason.NO_MEMBER, message)
        bit += member.bit
        type_id = member.type_id
    return _placed(btf, member, bit) if member else WhyNot(Reason.NO_MEMBER, "a member without a name")


def _named(btf: Btf, type_id: int, name: bytes, met: set[int]) -> RawMember | None:
    """The member of this name, in this type or in what is anonymous in it; its bit is from the type's beginning."""
    raw = resolved(btf, type_id)
    if raw is None or raw.kind not in _STRUCTURES or raw.at in met or len(met) > _MOST_HOPS:
        return None
    met.add(raw.at)
    for member in btf.members(raw):
        if btf.is_named(member.name, name):
            return member
        inner = None if member.name else _named(btf, member.type_id, name, met)
        if inner is not None:
            return inner._replace(bit=inner.bit + member.bit)
    return None


def resolved(btf: Btf, type_id: int) -> RawType | None:
    """A type behind its typedefs and qualifiers; None for void, and for those that lead nowhere."""
    for _ in range(_MOST_HOPS):
        raw = btf.type(type_id)
        if raw is None or raw.kind not in MODIFIERS:
            return raw
        type_id = raw.value
    return None


def size_of(btf: Btf, type_id: int) -> int | None:
    """The bytes of a type; None where it has none."""
    count = 1
    for _ in range(_MOST_HOPS):
        raw = resolved(btf, type_id)
        if raw is None:
            return None
        if raw.kind == Kind.PTR:
            return count * _POINTER
        if raw.kind in _SIZED:
            return count * raw.value
        if raw.kind != Kind.ARRAY:
            return None
        type_id = btf.word(raw.at)
        count *= btf.word(raw.at + 2)
    return None


def pointee(btf: Btf, member: Member) -> bytes | None:
    """The name of the type that a pointer leads to, empty for void; None for what is no pointer."""
    raw = resolved(btf, member.type_id)
    if raw is None or raw.kind != Kind.PTR:
        return None
    target = raw.value
    for _ in range(_MOST_HOPS):
        raw = btf.type(target)
        if raw is None or raw.kind not in MODIFIERS:
            break
        target = raw.value
    return btf.name(target)


def _placed(btf: Btf, member: RawMember, bit: int) -> Member | WhyNot:
    """A member that begins at this bit, once its size is known."""
    size = size_of(btf, member.type_id)
    if size is None:
        name = btf.string(member.name).decode("utf-8", "replace")
        return WhyNot(Reason.NO_TYPE, f"this kernel does not describe the type of the member {name}")
    width, signed = _integer(btf, member.type_id)
    bits = member.bits or (width if width < size * 8 else 0)
    if not bits and bit % 8 == 0:
        return Member(bit // 8, size, member.type_id, signed=signed)
    bits = bits or size * 8
    end = ceil_div(bit + bits, 8)
    return Member(bit // 8, end - bit // 8, member.type_id, bit % 8, bits, signed)


def _integer(btf: Btf, type_id: int) -> tuple[int, bool]:
    """How many bits of an integer count, and whether it is signed; for other types many, and not."""
    raw = resolved(btf, type_id)
    if raw is None or raw.kind != Kind.INT:
        return 1 << 32, False
    bits, signed = btf.integer(raw)
    return bits, signed
