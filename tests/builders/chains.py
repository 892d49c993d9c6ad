"""What users preserve memory with: pages of their own, kho_vmalloc chains and kho_block lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from khodump.abi.block import KHO_BLOCK_HEADER_SER, KhoBlockHeaderSer, block_capacity
from khodump.abi.vmalloc import KHO_VMALLOC, KhoVmalloc, VmallocFlags, chunk_capacity, kho_vmalloc_chunk
from tests.builders.memory import MemoryImage
from tests.builders.radix import Block

Row = Mapping[str, object]


class Writer:
    """What a user of KHO has at hand: memory to preserve, and a path to note under where everything lies.

    Writers of one handover share all but the path.

    Attributes:
        image: the memory it writes to.
        page_size: bytes.
        path: of what is being written, such as `LUO/sessions/0/files`.
        blocks: all (phys, order) preserved so far.
        fixed: those among them that lie where the user says, not where the image has room.
        places: physical addresses by path, in the order of writing.
    """

    def __init__(self, image: MemoryImage, page_size: int, path: str = "") -> None:
        self.image, self.page_size, self.path = image, page_size, path
        self.blocks: list[Block] = []
        self.fixed: list[Block] = []
        self.places: dict[str, list[int]] = {}

    def at(self, name: object) -> Writer:
        """The writer of what lies below, under `path`/`name`."""
        below = Writer(self.image, self.page_size, f"{self.path}/{name}".lstrip("/"))
        below.blocks, below.fixed, below.places = self.blocks, self.fixed, self.places
        return below

    def note(self, *addresses: int) -> None:
        """Remember addresses under `path`."""
        self.places.setdefault(self.path, []).extend(addresses)

    def preserve(self, data: bytes = b"", order: int | None = None) -> int:
        """The physical address, noted, of a fresh preserved block with `data`: of this order, or large enough."""
        if order is None:
            order = self.order_of(len(data))
        elif len(data) > self.page_size << order:
            raise ValueError(f"{len(data)} bytes in a block of order {order}")
        phys = self.image.alloc_page(self.page_size << order)
        self.image.write(phys, data)
        self.blocks.append((phys, order))
        self.note(phys)
        return phys

    def preserve_pages(self, phys: int, pages: int) -> None:
        """Preserve memory at a place of the user's choosing, split as by kho_preserve_pages()."""
        pfn = phys // self.page_size
        end = pfn + pages
        while pfn < end:
            order = (end - pfn).bit_length() - 1
            if pfn:
                order = min(order, (pfn & -pfn).bit_length() - 1)
            self.fixed.append((pfn * self.page_size, order))
            self.blocks.append(self.fixed[-1])
            pfn += 1 << order

    def order_of(self, size: int) -> int:
        """get_order(): of the smallest block that holds `size` bytes."""
        return max(-(-size // self.page_size) - 1, 0).bit_length()


def write_vmalloc(writer: Writer, data: bytes, order: int = 0) -> bytes:
    """Preserve a vmalloc area; nothing at all for no data.

    Notes the blocks of data under `blocks`, the pages of the chain under `chunks`.

    Args:
        writer: where to.
        data: what the area holds, without the padding to whole blocks.
        order: of its blocks.

    Returns:
        The struct kho_vmalloc.
    """
    size = writer.page_size << order
    blocks = [writer.at("blocks").preserve(data[at : at + size], order) for at in range(0, len(data), size)]
    return write_vmalloc_chain(writer, blocks, order)


def write_vmalloc_chain(writer: Writer, blocks: Sequence[int], order: int = 0) -> bytes:
    """The chain alone, for blocks that may lie anywhere; a chunk that becomes full is followed by an empty one."""
    flags = VmallocFlags.ALLOC | (VmallocFlags.HUGE_VMAP if order else 0)
    capacity = chunk_capacity(writer.page_size)
    starts = range(0, len(blocks) + 1 if blocks else 0, capacity)
    chunks = [writer.at("chunks").preserve(order=0) for _ in starts]
    schema = kho_vmalloc_chunk(writer.page_size)
    for chunk, following, at in zip(chunks, [*chunks[1:], 0], starts, strict=False):
        phys = list(blocks[at : at + capacity])
        phys += [0] * (capacity - len(phys))
        writer.image.write(chunk, schema.build({"next": following, "phys": phys}))
    if not chunks:
        return bytes(KHO_VMALLOC.size)
    return KHO_VMALLOC.build(KhoVmalloc(chunks[0], len(blocks) << order, int(flags), order))


def write_blocks(writer: Writer, schema: Any, rows: Sequence[Row], *, serialized: bool = True) -> int:
    """Write a kho_block list, of as many blocks as the rows need.

    Notes the blocks under the writer's own path, the entries under `entries`.

    Args:
        writer: where to.
        schema: of an entry.
        rows: the entries.
        serialized: False for blocks that have room for the rows, but count none yet.

    Returns:
        The physical address of its first block, 0 without rows.
    """
    capacity = block_capacity(writer.page_size, schema.sizeof())
    groups = [rows[at : at + capacity] for at in range(0, len(rows), capacity)]
    blocks = [writer.preserve(order=0) for _ in groups]
    for block, following, group in zip(blocks, [*blocks[1:], 0], groups, strict=False):
        count = len(group) if serialized else 0
        writer.image.write(block, KHO_BLOCK_HEADER_SER.build(KhoBlockHeaderSer(following, count)))
        write_entries(writer, block + KHO_BLOCK_HEADER_SER.size, schema, group[:count])
    return blocks[0] if blocks else 0


def write_entries(writer: Writer, phys: int, schema: Any, rows: Iterable[Row]) -> None:
    """Write entries from `phys` on, noting each under `entries`."""
    for row in rows:
        writer.image.write(phys, schema.build(row))
        writer.at("entries").note(phys)
        phys += schema.sizeof()
