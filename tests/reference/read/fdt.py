"""Flattened device trees: the header and the tokens are big-endian, what a KHO property holds is the CPU's own."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

MAGIC = 0xD00DFEED
BEGIN_NODE = 1
END_NODE = 2
PROP = 3
NOP = 4
END = 9


class FdtError(ValueError):
    """These bytes are no device tree."""


@dataclass
class Node:
    name: str
    properties: dict[str, bytes] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def child(self, name: str) -> Node | None:
        return next((child for child in self.children if child.name == name), None)

    def u64(self, name: str) -> int | None:
        """A property of 8 bytes; None where there is none, or it has another length."""
        value = self.properties.get(name)
        if value is None or len(value) != 8:
            return None
        return int.from_bytes(value, "little")

    def string(self, name: str) -> str | None:
        value = self.properties.get(name)
        return None if value is None else value.split(b"\0")[0].decode("latin-1")


def total_size(head: bytes) -> int:
    """How long the tree says it is, from its first 8 bytes."""
    magic, total = struct.unpack(">II", head[:8])
    if magic != MAGIC:
        raise FdtError(f"magic {magic:#x}")
    return int(total)


def parse(data: bytes) -> Node:
    """The root node."""
    total = total_size(data)
    if total > len(data) or total < 40:
        raise FdtError(f"total size {total}")
    struct_at, strings_at = struct.unpack_from(">II", data, 8)
    return _Parser(data[:total], struct_at, strings_at).root()


class _Parser:
    def __init__(self, data: bytes, at: int, strings: int) -> None:
        self._data = data
        self._at = at
        self._strings = strings

    def root(self) -> Node:
        token = self._token()
        if token != BEGIN_NODE:
            raise FdtError(f"begins with token {token}")
        return self._node()

    def _node(self) -> Node:
        node = Node(self._string(self._at))
        self._advance(len(node.name) + 1)
        while True:
            token = self._token()
            if token == END_NODE:
                return node
            if token == BEGIN_NODE:
                node.children.append(self._node())
            elif token == PROP:
                name, value = self._property()
                node.properties.setdefault(name, value)
            else:
                raise FdtError(f"token {token}")

    def _property(self) -> tuple[str, bytes]:
        length = self._word()
        name_at = self._word()
        value = self._data[self._at : self._at + length]
        if len(value) != length:
            raise FdtError("a property reaches past the end")
        self._advance(length)
        return self._string(self._strings + name_at), value

    def _token(self) -> int:
        token = self._word()
        while token == NOP:
            token = self._word()
        return token

    def _word(self) -> int:
        if self._at + 4 > len(self._data):
            raise FdtError("ends in the middle")
        word = int.from_bytes(self._data[self._at : self._at + 4], "big")
        self._at += 4
        return word

    def _string(self, at: int) -> str:
        end = self._data.find(b"\0", at)
        if end < 0:
            raise FdtError("a string without an end")
        return self._data[at:end].decode("latin-1")

    def _advance(self, size: int) -> None:
        self._at += (size + 3) & ~3
