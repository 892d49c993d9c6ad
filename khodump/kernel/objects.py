"""Objects of the kernel: where each wanted member is, from BTF, and its value, from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from khodump.abi.btf import Kind
from khodump.kernel.btf import Btf
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.members import Member, member_at
from khodump.kernel.virtual import VirtualMemory

#: Far above the objects that are read here; a structure that claims more is not read.
_MOST_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class StructLayout:
    """Where the members that are wanted of a structure are.

    Attributes:
        name: of the structure.
        members: by path.
    """

    name: str
    members: Mapping[str, Member]

    def offset(self, path: str) -> int:
        """Bytes from the structure's beginning to a member's."""
        return self.members[path].offset

    @property
    def extent(self) -> int:
        """The bytes of the structure that have to be read."""
        return max(member.offset + member.size for member in self.members.values())


@dataclass(frozen=True)
class Record:
    """One structure in memory, as it was read.

    Attributes:
        layout: where its members are.
        va: its virtual address.
        data: its bytes, as far as members are wanted.
    """

    layout: StructLayout
    va: int
    data: bytes

    def has(self, path: str) -> bool:
        """Whether this kernel's structure has that member."""
        return path in self.layout.members

    def raw(self, path: str) -> bytes:
        """A member's bytes."""
        member = self.layout.members[path]
        return self.data[member.offset : member.offset + member.size]

    def number(self, path: str) -> int:
        """A member's value; that of a pointer is the address it leads to."""
        member = self.layout.members[path]
        value = int.from_bytes(self.raw(path), "little") >> member.shift
        width = member.bits or member.size * 8
        value &= (1 << width) - 1
        is_negative = member.signed and bool(value >> (width - 1))
        return value - (1 << width) if is_negative else value

    def address(self, path: str) -> int:
        """The virtual address of a member that is part of the structure."""
        return self.va + self.layout.offset(path)


def struct_layout(
    btf: Btf, name: str, required: Sequence[str], optional: Sequence[str] = ()
) -> StructLayout | WhyNot:
    """The layout of the struct `name`, if this kernel describes it, with all the required members.

    There may be several structures of one name; those that have what is required must agree.
    """
    readings: list[StructLayout] = []
    problem = WhyNot(Reason.NO_TYPE, f"this kernel's BTF does not describe struct {name}")
    for type_id in btf.find(name, (Kind.STRUCT, Kind.UNION)):
        reading = _reading(btf, type_id, name, required, optional)
        if isinstance(reading, WhyNot):
            problem = reading
        elif not any(_agree(reading, known) for known in readings):
            readings.append(reading)
    if len(readings) > 1:
        message = f"this kernel's BTF describes struct {name} {len(readings)} times, and differently"
        return WhyNot(Reason.AMBIGUOUS, message)
    return readings[0] if readings else problem


def _reading(
    btf: Btf, type_id: int, name: str, required: Sequence[str], optional: Sequence[str]
) -> StructLayout | WhyNot:
    members: dict[str, Member] = {}
    for path in (*required, *optional):
        member = member_at(btf, type_id, path)
        if not isinstance(member, WhyNot):
            members[path] = member
        elif path in required:
            return member
    layout = StructLayout(name, members)
    if layout.extent > _MOST_BYTES:
        return WhyNot(Reason.DAMAGED, f"this kernel's BTF gives struct {name} {layout.extent} bytes")
    return layout


def _agree(one: StructLayout, other: StructLayout) -> bool:
    """Whether members have the same places; the numbers of their types may differ."""
    return _places(one) == _places(other)


def _places(layout: StructLayout) -> dict[str, Member]:
    return {path: member._replace(type_id=0) for path, member in layout.members.items()}


def read_record(memory: VirtualMemory, layout: StructLayout, va: int) -> Record | WhyNot:
    """The structure that a pointer leads to."""
    data = memory.read(va, layout.extent)
    if isinstance(data, WhyNot):
        return data.within(f"struct {layout.name} at {va:#x}")
    return Record(layout, va, data)
