"""Device-tree source of a handover's root FDT: it compiles back to the same bytes, with native values in comments."""

from __future__ import annotations

from collections.abc import Iterator

from khodump.fdt import FdtNode
from khodump.names import spelled

_INDENT = "\t"


def dts(tree: FdtNode) -> Iterator[str]:
    """The lines of a .dts file."""
    yield "/dts-v1/;"
    yield ""
    yield from _node("/", tree, 0)


def _node(name: str, node: FdtNode, depth: int) -> Iterator[str]:
    indent = _INDENT * depth
    yield f"{indent}{spelled(name)} {{"
    for prop, value in node.properties.items():
        yield f"{indent}{_INDENT}{prop}{_value(value)};{_native(value)}"
    for child in node.children:
        yield ""
        yield from _node(child.name, child, depth + 1)
    yield f"{indent}}};"


def _value(value: bytes) -> str:
    """The right-hand side: a string where it plainly is one, else big-endian cells, else bytes."""
    if not value:
        return ""
    text = value[:-1]
    if value.endswith(b"\0") and text and all(0x20 <= byte < 0x7F and byte not in b'"\\' for byte in text):
        return ' = "' + text.decode("ascii") + '"'
    if len(value) % 4:
        return f" = [{value.hex(' ')}]"
    cells = (int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4))
    return f" = <{' '.join(f'{cell:#010x}' for cell in cells)}>"


def _native(value: bytes) -> str:
    """KHO's payloads are native-endian, and as cells their bytes look swapped."""
    return f" /* {int.from_bytes(value, 'little'):#x} */" if len(value) == 8 else ""
