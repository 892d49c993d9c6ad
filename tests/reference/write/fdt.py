"""Device trees, as libfdt packs them."""

from __future__ import annotations

import struct

from tests.reference.read.fdt import BEGIN_NODE, END, END_NODE, MAGIC, PROP, Node

HEADER = 40
NO_RESERVATIONS = bytes(16)


def build(root: Node) -> bytes:
    """The tree as bytes: header, reservations, structure, strings."""
    strings = _Strings()
    structure = _node(root, strings) + struct.pack(">I", END)
    structure_at = HEADER + len(NO_RESERVATIONS)
    strings_at = structure_at + len(structure)
    total = strings_at + len(strings.data)
    header = struct.pack(
        ">10I", MAGIC, total, structure_at, strings_at, HEADER, 17, 16, 0, len(strings.data), len(structure)
    )
    return header + NO_RESERVATIONS + structure + bytes(strings.data)


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def text(value: str) -> bytes:
    return value.encode() + b"\0"


class _Strings:
    """Names of properties, each once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._at: dict[str, int] = {}

    def at(self, name: str) -> int:
        if name not in self._at:
            self._at[name] = len(self.data)
            self.data += text(name)
        return self._at[name]


def _node(node: Node, strings: _Strings) -> bytes:
    parts = [struct.pack(">I", BEGIN_NODE), _padded(text(node.name))]
    for name, value in node.properties.items():
        parts.append(struct.pack(">III", PROP, len(value), strings.at(name)))
        parts.append(_padded(value))
    parts += [_node(child, strings) for child in node.children]
    parts.append(struct.pack(">I", END_NODE))
    return b"".join(parts)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
