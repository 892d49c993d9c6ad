"""Flattened device trees: a strict validator, then pyfdt on exactly the bytes that passed it.

pyfdt trusts its input and guesses property types; the validator keeps damaged input from it, and the bytes are
rebuilt from the guess, which loses nothing. KHO's payloads are native-endian inside the big-endian container.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import construct
from pyfdt import pyfdt

from khodump.abi.layout import Layout
from khodump.errors import FdtError, FdtTruncatedError

MAGIC: Final = b"\xd0\x0d\xfe\xed"
#: FDT_SW_MAGIC of libfdt: the tree is being written front to back, and its strings are not where they will be.
UNFINISHED_MAGIC: Final = b"\x2f\xf2\x01\x12"

_VERSION: Final = 17
_LAST_COMPATIBLE: Final = 16
_BEGIN_NODE, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9
_ERR_TRUNCATED, _ERR_BADMAGIC, _ERR_BADVERSION = -8, -9, -10  # libfdt's
_MAX_SIZE: Final = 1 << 16
_MAX_DEPTH: Final = 64  # FDT_MAX_DEPTH of drivers/of/fdt.c
_MAX_NAMES: Final = 4096  # in one node: pyfdt's check for duplicates is quadratic in them
_U32: Final = struct.Struct(">I")
#: Any printable ASCII but the path separator: reserve_mem names come from users.
_NAME_BYTES: Final = frozenset(range(0x21, 0x7F)) - {ord("/")} | {ord(" ")}


@dataclass(frozen=True, slots=True)
class FdtHeader:
    """struct fdt_header, version 17; offsets and sizes in bytes."""

    magic: int
    totalsize: int
    off_dt_struct: int
    off_dt_strings: int
    off_mem_rsvmap: int
    version: int
    last_comp_version: int
    boot_cpuid_phys: int
    size_dt_strings: int
    size_dt_struct: int


FDT_HEADER: Final = Layout(
    FdtHeader,
    magic=construct.Int32ub,
    totalsize=construct.Int32ub,
    off_dt_struct=construct.Int32ub,
    off_dt_strings=construct.Int32ub,
    off_mem_rsvmap=construct.Int32ub,
    version=construct.Int32ub,
    last_comp_version=construct.Int32ub,
    boot_cpuid_phys=construct.Int32ub,
    size_dt_strings=construct.Int32ub,
    size_dt_struct=construct.Int32ub,
)


@dataclass(frozen=True)
class FdtNode:
    """A node: raw property bytes by name, and child nodes, in the order they are stored."""

    name: str
    properties: Mapping[str, bytes] = field(default_factory=dict)
    children: tuple[FdtNode, ...] = ()

    def child(self, name: str) -> FdtNode | None:
        """The child called `name`, if there is one."""
        return next((node for node in self.children if node.name == name), None)

    def string(self, name: str) -> str | None:
        """A NUL-terminated string property; None when absent or not such a string."""
        value = self.properties.get(name, b"")
        text, terminator, rest = value.partition(b"\0")
        return text.decode("ascii") if terminator and not rest and text.isascii() else None

    def u64(self, name: str) -> int | None:
        """A native-endian u64 property; None when absent or not 8 bytes long."""
        value = self.properties.get(name, b"")
        return int.from_bytes(value, "little") if len(value) == 8 else None


def cells_of(node: FdtNode) -> tuple[int, int]:
    """How many 32-bit cells an address and a size take in the node's children; 1 and 1 where it does not say.

    The defaults are OF_ROOT_NODE_ADDR_CELLS_DEFAULT and OF_ROOT_NODE_SIZE_CELLS_DEFAULT of drivers/of.
    """
    return _cell(node, "#address-cells"), _cell(node, "#size-cells")


def _cell(node: FdtNode, name: str) -> int:
    value = node.properties.get(name, b"")
    return int.from_bytes(value, "big") if len(value) == 4 else 1


def ranges_of(value: bytes, cells: tuple[int, int]) -> list[tuple[int, int]]:
    """The <address size> pairs of a big-endian property as (start, end exclusive); none where it is no such list."""
    address, size = (4 * count for count in cells)
    if not 0 < address <= 8 or not 0 < size <= 8 or len(value) % (address + size):
        return []
    spans = []
    for at in range(0, len(value), address + size):
        start = int.from_bytes(value[at : at + address], "big")
        length = int.from_bytes(value[at + address : at + address + size], "big")
        spans.append((start, start + length))
    return spans


def total_size(data: bytes) -> int | None:
    """The totalsize that the header at the start of `data` claims; None when there is no header."""
    if len(data) < FDT_HEADER.size or not data.startswith(MAGIC):
        return None
    return FDT_HEADER.parse(data).totalsize


def check_header(data: bytes) -> int:
    """What fdt_check_header() of the kernel's libfdt says of the tree at the start of `data`: 0, or a negative error.

    A kernel looks at no more than this before it asks for the compatible string; `parse_fdt` is stricter.
    """
    if not data.startswith(MAGIC) or len(data) < FDT_HEADER.size:
        return _ERR_BADMAGIC
    header = FDT_HEADER.parse(data)
    if header.version < 2 or header.last_comp_version > _VERSION or header.version < header.last_comp_version:
        return _ERR_BADVERSION
    blocks = (
        (header.off_mem_rsvmap, 0),
        (header.off_dt_struct, header.size_dt_struct),
        (header.off_dt_strings, header.size_dt_strings),
    )
    inside = all(FDT_HEADER.size <= at <= at + size <= header.totalsize for at, size in blocks)
    return 0 if inside and header.totalsize < 1 << 31 else _ERR_TRUNCATED


def parse_fdt(data: bytes, *, max_size: int = _MAX_SIZE) -> FdtNode:
    """The root node of the flattened device tree at the start of `data`.

    Args:
        data: bytes that begin with the tree.
        max_size: bytes that its totalsize may be; by default the largest page, as KHO's trees are one page.

    Raises:
        FdtTruncatedError: `data` ends before the tree's totalsize.
        FdtError: not a well-formed version 17 tree; the message names the offending offset.
    """
    header = _validated_header(data, max_size)
    blob = data[: header.totalsize]
    _validate_structure(blob, header)
    try:
        root = pyfdt.FdtBlobParse(BytesIO(blob)).to_fdt().get_rootnode()
    except Exception as error:  # pyfdt raises bare Exception, and whatever it trips over
        raise FdtError(f"pyfdt cannot parse the tree: {error}") from error
    return _node("", root)


def _validated_header(data: bytes, max_size: int) -> FdtHeader:
    if not data.startswith(MAGIC):
        raise FdtError(f"no FDT magic: it begins with {data[:4].hex(' ') or 'nothing'}, not {MAGIC.hex(' ')}")
    if len(data) < FDT_HEADER.size:
        raise FdtTruncatedError(f"the header is cut off: {len(data)} of {FDT_HEADER.size} bytes")
    header = FDT_HEADER.parse(data)
    if header.version != _VERSION or header.last_comp_version != _LAST_COMPATIBLE:
        raise FdtError(f"version {header.version} (compatible to {header.last_comp_version}) is not 17 (16)")
    if not FDT_HEADER.size <= header.totalsize <= max_size:
        raise FdtError(f"totalsize {header.totalsize} is not between {FDT_HEADER.size} and {max_size}")
    if header.totalsize > len(data):
        raise FdtTruncatedError(f"cut short: {len(data)} of {header.totalsize} bytes")
    blocks = (
        ("memory reservation", header.off_mem_rsvmap, 16, 8),
        ("structure", header.off_dt_struct, header.size_dt_struct, 4),
        ("strings", header.off_dt_strings, header.size_dt_strings, 1),
    )
    for name, offset, size, alignment in blocks:
        if offset < FDT_HEADER.size or offset % alignment or offset + size > header.totalsize:
            raise FdtError(
                f"the {name} block, {size} bytes at {offset:#x}, is misplaced in {header.totalsize} bytes"
            )
    _validate_reservations(data[: header.totalsize], header.off_mem_rsvmap)
    return header


def _validate_reservations(blob: bytes, offset: int) -> None:
    while any(blob[offset : offset + 16]):
        offset += 16
    if offset + 16 > len(blob):
        raise FdtError("the memory reservation block has no end")


def _validate_structure(blob: bytes, header: FdtHeader) -> None:
    """Walk the tokens as libfdt would, and refuse what pyfdt would swallow."""
    names: list[set[str]] = []  # of each open node: its properties and children
    roots = 0
    for at, token, name in _tokens(blob, header):
        if token == _BEGIN_NODE:
            roots += not names
            if roots > 1 or (not names and name):
                raise FdtError(f'a second or a named root node ("{name}") at {at:#x}')
            if names and not name:
                raise FdtError(f"a node without a name at {at:#x}")
            if len(names) == _MAX_DEPTH:
                raise FdtError(f"nested deeper than {_MAX_DEPTH} levels at {at:#x}")
        elif not names:
            raise FdtError(f"a property, or the end of a node, outside any node at {at:#x}")
        if token == _END_NODE:
            names.pop()
            continue
        if names and name in names[-1]:
            raise FdtError(f'"{name}" stands twice in one node, again at {at:#x}')
        if names:
            names[-1].add(name)
            if len(names[-1]) > _MAX_NAMES:
                raise FdtError(f"more than {_MAX_NAMES} properties and children in one node, at {at:#x}")
        if token == _BEGIN_NODE:
            names.append(set())
    if names or not roots:
        raise FdtError(f"the structure block ends with {len(names)} nodes open and {roots} root nodes")


def _tokens(blob: bytes, header: FdtHeader) -> Iterator[tuple[int, int, str]]:
    """(offset, token, name) of every node start, property and node end, up to FDT_END."""
    at, end = header.off_dt_struct, header.off_dt_struct + header.size_dt_struct
    while at + 4 <= end:
        start, token = at, _U32.unpack_from(blob, at)[0]
        at += 4
        if token == _END:
            if at != end:
                raise FdtError(f"the tree ends at {start:#x}, before its structure block does at {end:#x}")
            return
        if token == _BEGIN_NODE:
            name = _name(blob, at, end)
            at += _aligned(len(name) + 1)
            yield start, token, name
        elif token == _PROP:
            if at + 8 > end:
                raise FdtError(f"a property is cut off at {start:#x}")
            length, offset = struct.unpack_from(">II", blob, at)
            at += 8 + _aligned(length)
            if at > end:
                raise FdtError(
                    f"the property at {start:#x} claims {length} bytes, past the end of the structure block"
                )
            if offset >= header.size_dt_strings:
                raise FdtError(
                    f"the property at {start:#x} has its name at {offset:#x}, outside the strings block"
                )
            strings = header.off_dt_strings
            name = _name(blob, strings + offset, strings + header.size_dt_strings)
            if not name:
                raise FdtError(f"the property at {start:#x} has no name")
            yield start, token, name
        elif token == _END_NODE:
            yield start, token, ""
        elif token != _NOP:
            raise FdtError(f"unknown tag {token:#x} at {start:#x}")
    raise FdtError("the structure block has no end tag")


def _name(blob: bytes, start: int, end: int) -> str:
    name, terminator, _ = blob[start:end].partition(b"\0")
    if not terminator or not _NAME_BYTES.issuperset(name):
        raise FdtError(f"the name at {start:#x} has no end or is not printable: {name[:32].hex(' ')}")
    return name.decode("ascii")


def _aligned(length: int) -> int:
    return -(-length // 4) * 4


def _node(name: str, node: Any) -> FdtNode:  # noqa: ANN401 - pyfdt is untyped
    properties: dict[str, bytes] = {}
    children: list[FdtNode] = []
    for item in node:
        if isinstance(item, pyfdt.FdtNode):
            children.append(_node(str(item.get_name()), item))
        elif not isinstance(item, pyfdt.FdtNop):
            properties[str(item.get_name())] = _raw(item)
    return FdtNode(name, properties, tuple(children))


def _raw(prop: Any) -> bytes:  # noqa: ANN401 - pyfdt is untyped
    """The bytes of a property, whichever type pyfdt guessed; its own to_raw() fails on Python 3."""
    if isinstance(prop, pyfdt.FdtPropertyWords):
        return b"".join(_U32.pack(word) for word in prop.words)
    if isinstance(prop, pyfdt.FdtPropertyBytes):
        return bytes(byte & 0xFF for byte in prop.bytes)
    if isinstance(prop, pyfdt.FdtPropertyStrings):
        return b"".join(text.encode("ascii") + b"\0" for text in prop.strings)
    return b""
