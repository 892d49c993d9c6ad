"""A whole handover: the preserved-memory map, the root FDT and the blobs it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from khodump.abi.kexec_handover import (
    PROP_BLOB_SIZE,
    PROP_COMPATIBLE,
    PROP_PRESERVED_DATA,
    PROP_PRESERVED_MEMORY_MAP,
    PROP_PRESERVED_PAGE_RADIX_TREE,
    RadixGeometry,
)
from khodump.abi.kexec_metadata import KHO_KEXEC_METADATA, NODE_NAME, VERSION, KhoKexecMetadata
from khodump.abi.kho_order_table import PROP_PRESERVED_ORDER_TABLE
from khodump.fdt import FdtNode
from tests.builders.chains import Writer
from tests.builders.fdt import build_fdt, string, u64
from tests.builders.khoser import write_chain
from tests.builders.memory import MemoryImage
from tests.builders.order_table import write_order_table
from tests.builders.radix import Block, RadixTree, geometry_of, write_radix
from tests.builders.users import User

#: Which kernel writes which string; the newest, where there are several.
_RELEASES: Final = {"kho-v1": "7.0.4", "kho-v2": "7.1.0-rc1", "kho-v3": "7.1.4"}


class MapFormat(StrEnum):
    """The map formats, by the root property that leads to them in their time."""

    RADIX = PROP_PRESERVED_MEMORY_MAP
    POSTED_RADIX = PROP_PRESERVED_PAGE_RADIX_TREE
    ORDER_TABLE = PROP_PRESERVED_ORDER_TABLE
    CHAIN = "preserved-memory-map of kho-v1"

    @property
    def prop(self) -> str:
        """The root property."""
        return self.value.removesuffix(" of kho-v1")


@dataclass(frozen=True)
class Description:
    """What a kernel hands over.

    Attributes:
        compatible: of the root FDT; before `kho-v3` blobs have no size, and `kho-v1` calls them FDTs.
        map_format: how the preserved memory is written down.
        bitmap_size: bytes of the bitmaps of a chain; by default a page.
        page_size: bytes.
        counts_marker: False for the shallow 16 KiB trees of kernels before 7.1-rc6.
        preservations: (phys, order), beside the root FDT's own page and those of the blobs.
        empties: (phys, order) preserved and given up again.
        subtrees: blobs, or users that write theirs, by the name of their node, in the order in which users add them.
        kexec_count: of the kexec-metadata blob; None leaves its node out.
        release: the kernel that hands over; by default one that writes this compatible string.
        metadata_start, metadata_end: bytes; where the kernel allocates its tree, FDT and blobs.
        scatter: (start, end) spans of memory that it takes them from in turn instead.
    """

    compatible: str = "kho-v4"
    map_format: MapFormat = MapFormat.RADIX
    bitmap_size: int | None = None
    page_size: int = 4096
    counts_marker: bool = True
    preservations: tuple[Block, ...] = ()
    empties: tuple[Block, ...] = ()
    subtrees: Mapping[str, bytes | User] = field(default_factory=dict)
    kexec_count: int | None = 1
    release: str | None = None
    metadata_start: int = 1 << 20
    metadata_end: int = 1 << 40
    scatter: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class BuiltHandover:
    """A handover in memory.

    Attributes:
        image: the memory it stands in.
        geometry: of its tree, where its map is a radix tree.
        fdt_phys: physical address of the root FDT.
        fdt: its bytes, totalsize long.
        tree: the preserved-memory map; of formats that are no radix tree, the root alone.
        map_nodes: physical addresses of the map's own pages and bitmaps.
        blobs: physical address of every blob by name.
        places: physical addresses of what users wrote, by path; each user's class says which.
        blocks: all (phys, order) in the map.
    """

    image: MemoryImage
    geometry: RadixGeometry
    fdt_phys: int
    fdt: bytes
    tree: RadixTree
    map_nodes: frozenset[int]
    blobs: Mapping[str, int]
    places: Mapping[str, Sequence[int]]
    blocks: frozenset[Block]


def build_handover(description: Description, image: MemoryImage | None = None) -> BuiltHandover:
    """Put what `description` says into memory.

    Raises:
        ValueError: a preserved block covers the tree, the FDT or a blob, as no kernel's allocator allows.
    """
    image = image or MemoryImage(description.metadata_start, description.metadata_end, description.scatter)
    geometry = geometry_of(description.page_size, counts_marker=description.counts_marker)
    users = dict(description.subtrees)
    if description.kexec_count is not None:
        users = {NODE_NAME: _metadata(description), **users}
    fdt_phys = image.alloc_page(description.page_size)
    writer = Writer(image, description.page_size)
    contents, blobs = {}, {}
    for name, user in users.items():
        contents[name] = user if isinstance(user, bytes) else user.write(writer.at(name))
        blobs[name] = writer.at(name).preserve(contents[name])
    blocks = frozenset([*description.preservations, (fdt_phys, 0), *writer.blocks])
    tree, nodes = _write_map(description, image, geometry, sorted(blocks))
    image.ram_end = max(phys + (description.page_size << order) for phys, order in blocks)
    _refuse_overlaps(image, description.page_size, [*description.preservations, *writer.fixed])
    fdt = build_fdt(
        _root(description, tree.root, {name: (blobs[name], len(blob)) for name, blob in contents.items()})
    )
    image.write(fdt_phys, fdt)
    return BuiltHandover(image, geometry, fdt_phys, fdt, tree, frozenset(nodes), blobs, writer.places, blocks)


def _write_map(
    description: Description, image: MemoryImage, geometry: RadixGeometry, blocks: list[Block]
) -> tuple[RadixTree, Iterable[int]]:
    """The map, and the addresses of its own pages and bitmaps."""
    size, empties = description.page_size, description.empties
    if description.map_format is MapFormat.CHAIN:
        chain = write_chain(image, size, description.bitmap_size or size, blocks, empties=empties)
        return RadixTree(chain.root, {}), [*chain.chunks, *chain.bitmaps.values()]
    if description.map_format is MapFormat.ORDER_TABLE:
        table = write_order_table(image, size, blocks, empties=empties)
        nodes = [phys for tree in table.trees.values() for phys in tree.nodes.values()]
        return RadixTree(table.root, {}), [table.root, *nodes]
    tree = write_radix(image, geometry, blocks, empties=empties)
    return tree, tree.nodes.values()


def _metadata(description: Description) -> bytes:
    release = description.release or _RELEASES.get(description.compatible, "7.3.4")
    padded = release.encode().ljust(65, b"\0")
    return KHO_KEXEC_METADATA.build(KhoKexecMetadata(VERSION, padded, description.kexec_count or 0))


def _refuse_overlaps(image: MemoryImage, page_size: int, fixed: Iterable[Block]) -> None:
    for phys, order in fixed:
        end = phys + (page_size << order)
        for used, used_end in image.ranges:
            if phys < used_end and used < end:
                raise ValueError(f"order {order} at {phys:#x} covers metadata at {used:#x}..{used_end:#x}")


def _root(description: Description, map_phys: int, blobs: Mapping[str, tuple[int, int]]) -> FdtNode:
    """Subnodes are added in front, and so are their properties: the newest stands first."""
    children = []
    for name, (phys, size) in reversed(list(blobs.items())):
        sized = {PROP_BLOB_SIZE: u64(size)} if description.compatible not in ("kho-v1", "kho-v2") else {}
        stateless = description.map_format in (MapFormat.ORDER_TABLE, MapFormat.POSTED_RADIX)
        data = "fdt" if description.compatible == "kho-v1" or stateless else PROP_PRESERVED_DATA
        children.append(FdtNode(name, {**sized, data: u64(phys)}))
    properties = {
        PROP_COMPATIBLE: string(description.compatible),
        description.map_format.prop: u64(map_phys),
    }
    return FdtNode("", properties, tuple(children))
