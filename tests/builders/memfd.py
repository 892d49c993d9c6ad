"""Memfds, preserved through LUO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from khodump.abi.memfd import (
    COMPATIBLE_V1,
    COMPATIBLE_V2,
    DRAFT_FLAG_BITS,
    MEMFD_LUO_FOLIO_SER,
    MEMFD_LUO_SER,
    MEMFD_LUO_SER_V1,
    PFN_BITS,
    PROP_FOLIOS,
    PROP_NR_FOLIOS,
    PROP_POS,
    PROP_SIZE,
    FolioFlags,
    MemfdLuoSer,
    MemfdLuoSerV1,
    Seals,
)
from khodump.fdt import FdtNode
from tests.builders.chains import Writer, write_vmalloc
from tests.builders.fdt import build_fdt, u64

KEPT = FolioFlags.DIRTY | FolioFlags.UPTODATE


class MemfdFormat(Enum):
    """The formats of a memfd; the draft that was posted and what was merged as v1 share the compatible string."""

    DRAFT = "draft"
    V1 = "v1"
    V2 = "v2"

    @property
    def compatible(self) -> str:
        """Of the file handler."""
        return COMPATIBLE_V2 if self is MemfdFormat.V2 else COMPATIBLE_V1


@dataclass(frozen=True)
class Folio:
    """A folio at page `index` of the file, with `data` and zeros after it; None is an entry without a page."""

    index: int
    data: bytes | None = b""
    order: int = 0
    flags: FolioFlags = KEPT


@dataclass(frozen=True)
class Memfd:
    """A file.

    Attributes:
        folios: in the order of their entries.
        size: bytes; by default up to the end of the last folio.
        pos: bytes.
        seals: the next kernel refuses unknown ones.
        format: how it is written down.
        array_order: of the blocks of the array of folios.
    """

    folios: tuple[Folio, ...] = ()
    size: int | None = None
    pos: int = 0
    seals: Seals | int = 0
    format: MemfdFormat = MemfdFormat.V2
    array_order: int = 0

    @property
    def compatible(self) -> str:
        """Of the file handler."""
        return self.format.compatible

    def write(self, writer: Writer) -> int:
        """Preserve all of it; returns what LUO keeps as the file's data, the struct's (or FDT's) physical address.

        Notes that under the writer's own path, the contents of each folio (0 for none) under `contents`, the array
        of folios under `folios/blocks` and `folios/chunks`, and its entries under `folios/entries`.
        """
        array = b"".join(
            MEMFD_LUO_FOLIO_SER.build({"folio": self._word(writer, folio), "index": folio.index})
            for folio in self.folios
        )
        below = writer.at("folios")
        descriptor = write_vmalloc(below, array, self.array_order)
        block = writer.page_size << self.array_order
        blocks = writer.places.get(below.at("blocks").path, [])
        for at in range(0, len(array), MEMFD_LUO_FOLIO_SER.sizeof()):
            below.at("entries").note(blocks[at // block] + at % block)
        ends = [folio.index + (1 << folio.order) for folio in self.folios]
        size = max(ends, default=0) * writer.page_size if self.size is None else self.size
        return writer.preserve(self._struct(size, descriptor))

    def _word(self, writer: Writer, folio: Folio) -> int:
        """The first word of a folio's entry."""
        contents = writer.at("contents")
        if folio.data is None:
            contents.note(0)
            return 0
        pfn = contents.preserve(folio.data, folio.order) // writer.page_size
        if self.format is MemfdFormat.DRAFT:
            return pfn << DRAFT_FLAG_BITS | folio.flags
        return pfn | folio.flags << PFN_BITS

    def _struct(self, size: int, folios: bytes) -> bytes:
        count = len(self.folios)
        if self.format is MemfdFormat.V2:
            return MEMFD_LUO_SER.build(MemfdLuoSer(self.pos, size, int(self.seals), 0, count, folios))
        if self.format is MemfdFormat.V1:
            return MEMFD_LUO_SER_V1.build(MemfdLuoSerV1(self.pos, size, count, folios))
        properties = {PROP_POS: u64(self.pos), PROP_SIZE: u64(size), PROP_NR_FOLIOS: u64(count)}
        return build_fdt(FdtNode("", {**properties, PROP_FOLIOS: folios}))


def folios_of(pages: Mapping[int, bytes]) -> tuple[Folio, ...]:
    """Single pages, by their index in the file."""
    return tuple(Folio(index, data) for index, data in sorted(pages.items()))
