"""Flattened device trees: a reader that finds what libfdt would find, and notes whatever no kernel writes.

libfdt follows a tree only as far as it has to: a lookup that ends before the damage succeeds. So does this; what is odd
is told beside what could be read, and `parse_fdt` refuses all of it. Names are what the kernel's writer takes: any bytes
but NUL, as those of reserve_mem regions come from the command line. KHO's payloads are native-endian inside the
big-endian container.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from khodump.abi.layout import Layout, be32
from khodump.errors import FdtError, FdtTruncatedError
from khodump.findings import Entry
from khodump.rounding import round_up

MAGIC: Final = b"\xd0\x0d\xfe\xed"
#: FDT_SW_MAGIC of libfdt: the tree is being written front to back, and its strings are not where they will be.
UNFINISHED_MAGIC: Final = b"\x2f\xf2\x01\x12"

_VERSION: Final = 17
_OLDEST_READ: Final = 16  # before, libfdt takes names for whole paths
_LAST_COMPATIBLE: Final = 16
_BEGIN_NODE, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9
_ERR_TRUNCATED, _ERR_BADMAGIC, _ERR_BADVERSION = -8, -9, -10  # libfdt's
_MAX_SIZE: Final = 1 << 16
_PROP_HEAD: Final = 12  # its tag, its length, and the place of its name
_MAX_DEPTH: Final = 64  # FDT_MAX_DEPTH of drivers/of/fdt.c
_U32: Final = struct.Struct(">I")
#: Bytes of a property before its value: the tag, the value's length, and where the name is.
_PROPERTY_HEADER: Final = 12
#: Of properties: any printable ASCII but the path separator.
_PROPERTY_BYTES: Final = frozenset(range(0x20, 0x7F)) - {ord("/")}


@dataclass(frozen=True, slots=True)
class FdtHeader:
    """struct fdt_header, version 17; offsets and sizes in bytes."""

    magic: be32
    totalsize: be32
    off_dt_struct: be32
    off_dt_strings: be32
    off_mem_rsvmap: be32
    version: be32
    last_comp_version: be32
    boot_cpuid_phys: be32
    size_dt_strings: be32
    size_dt_struct: be32


FDT_HEADER: Final = Layout(FdtHeader)


@dataclass(frozen=True)
class FdtNode:
    """A node: raw property bytes by name, and child nodes, in the order they are stored.

    Bytes of a name that are no UTF-8 are lone surrogates in `name`. Of a tree that was read, `places` are the offsets of
    the properties' values in its bytes.
    """

    name: str
    properties: Mapping[str, bytes] = field(default_factory=dict)
    children: tuple[FdtNode, ...] = ()
    places: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

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


def property_entry(node: FdtNode, prop: str, fdt_phys: int, tree: str) -> Entry | None:
    """Where the value of a property stands; None in a tree that was not read.

    Args:
        node: the node that has it.
        prop: its name.
        fdt_phys: physical address of the tree.
        tree: which it is, for a person.
    """
    place = node.places.get(prop)
    if place is None:
        return None
    of_node = f" of node {node.name}" if node.name else ""
    return Entry(f"property {prop}{of_node} in the {tree}", fdt_phys + place)


class Oddity(NamedTuple):
    """What no kernel writes, and libfdt does not mind.

    Attributes:
        text: what it is, and where, as a clause.
        hides: whether the tree may hold more than libfdt finds, and than was read.
    """

    text: str
    hides: bool


class Fdt(NamedTuple):
    """A tree as libfdt finds it.

    Attributes:
        root: its root node.
        oddities: what no kernel writes, in the order of the tree.
    """

    root: FdtNode
    oddities: tuple[Oddity, ...]


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
    """The root node of the flattened device tree at the start of `data`, of which nothing is odd.

    Args:
        data: bytes that begin with the tree.
        max_size: bytes that its totalsize may be; by default the largest page, as KHO's trees are one page.

    Raises:
        FdtTruncatedError: `data` ends before the tree's totalsize.
        FdtError: not a well-formed version 17 tree; the message names the offending offset.
    """
    root, oddities = read_fdt(data, max_size=max_size)
    if oddities:
        raise FdtError(oddities[0].text)
    return root


def read_fdt(data: bytes, *, max_size: int = _MAX_SIZE) -> Fdt:
    """The flattened device tree at the start of `data`, as far as libfdt finds it.

    Args:
        data: bytes that begin with the tree.
        max_size: bytes of its totalsize that are read; by default the largest page, as KHO's trees are one page.

    Raises:
        FdtTruncatedError: `data` ends before the tree's totalsize.
        FdtError: libfdt refuses the header, or finds no root node; the message says where.
    """
    oddities: list[Oddity] = []
    header = _checked_header(data, max_size, oddities)
    root = _tree(data[: min(header.totalsize, max_size)], header, oddities)
    return Fdt(root, tuple(oddities))


def root_values(data: bytes) -> Iterator[bytes]:
    """The values of the root node's properties, in order, as far as these first bytes of a tree go.

    The names of properties are at the end of a tree, and so not known.
    """
    if len(data) < FDT_HEADER.size:
        return
    header = FDT_HEADER.parse(data)
    padded = data.ljust(min(header.totalsize, _MAX_SIZE), b"\0")
    nodes = 0
    try:
        _check_blocks(header, len(padded), [])
        for token in _tokens(padded, header, _Builder([])):
            nodes += token.tag == _BEGIN_NODE
            if nodes > 1 or token.at + _PROP_HEAD + len(token.value) > len(data):
                return
            if token.tag == _PROP:
                yield token.value
    except FdtError:
        return


def _checked_header(data: bytes, max_size: int, oddities: list[Oddity]) -> FdtHeader:
    if not data.startswith(MAGIC):
        raise FdtError(f"no FDT magic: it begins with {data[:4].hex(' ') or 'nothing'}, not {MAGIC.hex(' ')}")
    if len(data) < FDT_HEADER.size:
        raise FdtTruncatedError(f"the header is cut off: {len(data)} of {FDT_HEADER.size} bytes")
    header = FDT_HEADER.parse(data)
    said = f"version {header.version} (compatible to {header.last_comp_version}) is not 17 (16)"
    if check_header(data) == _ERR_BADVERSION or header.version < _OLDEST_READ:
        raise FdtError(said)
    if header.version != _VERSION or header.last_comp_version != _LAST_COMPATIBLE:
        oddities.append(Oddity(said, hides=False))
    _check_size(header, len(data), max_size, oddities)
    _check_blocks(header, min(header.totalsize, len(data)), oddities)
    if not _reservations_end(data[: header.totalsize], header.off_mem_rsvmap):
        oddities.append(Oddity("the memory reservation block has no end", hides=False))
    return header


def _check_size(header: FdtHeader, held: int, max_size: int, oddities: list[Oddity]) -> None:
    """Hold the totalsize against the bytes that are there."""
    size = header.totalsize
    said = f"totalsize {size} is not between {FDT_HEADER.size} and {max_size}"
    if not FDT_HEADER.size <= size < 1 << 31:
        raise FdtError(said)
    if size > max_size:
        oddities.append(Oddity(said, hides=False))
    elif size > held:
        raise FdtTruncatedError(f"cut short: {held} of {size} bytes")


def _check_blocks(header: FdtHeader, size: int, oddities: list[Oddity]) -> None:
    """Refuse blocks that are not in the first `size` bytes, as fdt_check_header() does; it asks for no alignment."""
    blocks = (
        ("memory reservation", header.off_mem_rsvmap, 0, 8),
        ("structure", header.off_dt_struct, header.size_dt_struct, 4),
        ("strings", header.off_dt_strings, header.size_dt_strings, 1),
    )
    for name, offset, length, alignment in blocks:
        said = f"the {name} block, {length} bytes at {offset:#x}, is misplaced in {header.totalsize} bytes"
        if offset < FDT_HEADER.size or offset + length > size:
            raise FdtError(said)
        if offset % alignment:
            oddities.append(Oddity(said, hides=False))


def _reservations_end(blob: bytes, offset: int) -> bool:
    while any(blob[offset : offset + 16]):
        offset += 16
    return offset + 16 <= len(blob)


class _Token(NamedTuple):
    """A piece of the structure block.

    Attributes:
        at: offset in the tree.
        tag: _BEGIN_NODE, _PROP or _END_NODE.
        name: of the node that begins, or of the property; None for a property whose name cannot be read.
        value: of the property.
    """

    at: int
    tag: int
    name: str | None = ""
    value: bytes = b""


@dataclass
class _OpenNode:
    """A node whose end was not met yet; of what has one name, libfdt finds the first."""

    name: str
    properties: dict[str, bytes] = field(default_factory=dict)
    children: dict[str, _OpenNode] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)

    def closed(self) -> FdtNode:
        """The node, as far as it was read."""
        children = tuple(child.closed() for child in self.children.values())
        return FdtNode(self.name, self.properties, children, self.places)


class _Builder:
    """Puts the nodes of one tree together.

    Args:
        oddities: takes what is odd.
    """

    def __init__(self, oddities: list[Oddity]) -> None:
        self.root: _OpenNode | None = None
        self.open: list[_OpenNode] = []
        self._oddities = oddities

    def note(self, text: str, *, hides: bool = True) -> None:
        """Tell what is odd."""
        self._oddities.append(Oddity(text, hides))

    def take(self, token: _Token) -> None:
        """Go on with the next piece.

        Raises:
            FdtError: the tree cannot go on like that.
        """
        if token.tag == _BEGIN_NODE:
            self._begin(token)
        elif not self.open:
            raise FdtError(f"a property, or the end of a node, outside any node at {token.at:#x}")
        elif token.tag == _PROP:
            self._property(token)
        else:
            self.open.pop()

    def _begin(self, token: _Token) -> None:
        node = _OpenNode(token.name or "")
        if not self.open:
            self._begin_root(node, token)
        else:
            self._begin_child(node, token)
        if len(self.open) == _MAX_DEPTH:
            raise FdtError(f"nested deeper than {_MAX_DEPTH} levels at {token.at:#x}")
        self.open.append(node)

    def _begin_root(self, node: _OpenNode, token: _Token) -> None:
        said = f'a second or a named root node ("{node.name}") at {token.at:#x}'
        if self.root is not None:
            raise FdtError(said)
        self.root = _OpenNode("")
        if node.name:
            self.note(said, hides=False)
        node.properties = self.root.properties
        node.children = self.root.children
        node.places = self.root.places

    def _begin_child(self, node: _OpenNode, token: _Token) -> None:
        above = self.open[-1]
        if not node.name:
            self.note(f"a node without a name at {token.at:#x}")
        if node.name in above.children or node.name in above.properties:
            self.note(f'"{node.name}" stands twice in one node, again at {token.at:#x}')
        above.children.setdefault(node.name, node)

    def _property(self, token: _Token) -> None:
        """Take a property, unless libfdt does not find it."""
        node, name = self.open[-1], token.name
        if name is None:
            return
        if node.children:
            self.note(f'the property "{name}" at {token.at:#x} stands behind a child of its node')
            return
        if name in node.properties:
            self.note(f'"{name}" stands twice in one node, again at {token.at:#x}')
        node.properties.setdefault(name, token.value)
        node.places.setdefault(name, token.at + _PROPERTY_HEADER)


def _tree(blob: bytes, header: FdtHeader, oddities: list[Oddity]) -> FdtNode:
    """The root node; where the structure breaks off, libfdt finds what stands before."""
    builder = _Builder(oddities)
    try:
        for token in _tokens(blob, header, builder):
            builder.take(token)
    except FdtError as damage:
        builder.note(str(damage))
    if builder.open:
        builder.note(f"the structure block ends with {len(builder.open)} nodes open")
    if builder.root is None:
        raise FdtError("; ".join([oddity.text for oddity in oddities] or ["there is no root node"]))
    return builder.root.closed()


def _tokens(blob: bytes, header: FdtHeader, builder: _Builder) -> Iterator[_Token]:
    """Every node start, property and node end, up to FDT_END; `builder` takes what is odd on the way."""
    at, end = header.off_dt_struct, header.off_dt_struct + header.size_dt_struct
    while at + 4 <= end:
        start, tag = at, _U32.unpack_from(blob, at)[0]
        at += 4
        if tag == _END:
            if at != end:
                builder.note(f"the tree ends at {start:#x}, before its structure block does at {end:#x}")
            return
        if tag == _BEGIN_NODE:
            name = _string(blob, at, end)
            at += _aligned(len(name) + 1)
            yield _Token(start, tag, name.decode("utf-8", "surrogateescape"))
        elif tag == _PROP:
            token = _property(blob, header, start, builder)
            at += 8 + _aligned(len(token.value))
            yield token
        elif tag == _END_NODE:
            yield _Token(start, tag)
        elif tag != _NOP:
            raise FdtError(f"unknown tag {tag:#x} at {start:#x}")
    raise FdtError("the structure block has no end tag")


def _property(blob: bytes, header: FdtHeader, start: int, builder: _Builder) -> _Token:
    """The property whose tag is at `start`.

    Raises:
        FdtError: it does not end inside the structure block.
    """
    at, end = start + 4, header.off_dt_struct + header.size_dt_struct
    if at + 8 > end:
        raise FdtError(f"a property is cut off at {start:#x}")
    length, offset = struct.unpack_from(">II", blob, at)
    at += 8
    if at + _aligned(length) > end:
        raise FdtError(
            f"the property at {start:#x} claims {length} bytes, past the end of the structure block"
        )
    return _Token(start, _PROP, _property_name(blob, header, start, offset, builder), blob[at : at + length])


def _property_name(blob: bytes, header: FdtHeader, start: int, offset: int, builder: _Builder) -> str | None:
    """The name at `offset` of the strings block; None where libfdt finds none, and so no such property."""
    if offset >= header.size_dt_strings:
        builder.note(f"the property at {start:#x} has its name at {offset:#x}, outside the strings block")
        return None
    strings = header.off_dt_strings
    try:
        name = _string(blob, strings + offset, strings + header.size_dt_strings)
    except FdtError as endless:
        builder.note(str(endless))
        return None
    if not name:
        builder.note(f"the property at {start:#x} has no name")
        return None
    if not _PROPERTY_BYTES.issuperset(name):
        builder.note(f"the name at {strings + offset:#x} is not printable: {name[:32].hex(' ')}")
    return name.decode("utf-8", "surrogateescape")


def _string(blob: bytes, start: int, end: int) -> bytes:
    """The bytes from `start` up to a NUL before `end`."""
    nul = blob.find(b"\0", start, end)
    if nul < 0:
        raise FdtError(f"the name at {start:#x} has no end: {blob[start : min(end, start + 32)].hex(' ')}")
    return blob[start:nul]


def _aligned(length: int) -> int:
    return round_up(length, 4)
