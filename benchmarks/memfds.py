"""Handovers of one large memfd in 4 KiB folios, whose list the builders of the tests would write entry by entry."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.trees import FDT, PAGE, leaves_of, write_map
from khodump.abi.layout import dtype_of
from khodump.abi.luo import NODE_NAME
from khodump.abi.memfd import COMPATIBLE_V2, MEMFD_LUO_FOLIO_SER, MEMFD_LUO_SER, PFN_BITS, MemfdLuoSer
from khodump.columns.arrays import U8, U64
from tests.builders.chains import Writer, write_vmalloc
from tests.builders.handover import Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import KEPT

#: The memfd, as `khodump extract --memfd` takes it.
NAME: Final = "vm/1"
#: Where its folios lie; all else is below.
FOLIOS: Final = 4 << 30


@dataclass(frozen=True)
class _Memfd:
    """LUO's state with one file, whose folios lie at these page frames."""

    pfn: U64

    def write(self, writer: Writer) -> bytes:
        """Preserve all of it; returns the blob."""
        entries = np.zeros(len(self.pfn), dtype_of(MEMFD_LUO_FOLIO_SER))
        entries["folio"] = self.pfn | np.uint64(int(KEPT) << PFN_BITS)
        entries["index"] = np.arange(len(self.pfn))
        below = writer.at("memfd")
        folios = write_vmalloc(below.at("folios"), entries.tobytes())
        count = len(self.pfn)
        state = below.preserve(MEMFD_LUO_SER.build(MemfdLuoSer(0, count * PAGE, 0, 0, count, folios)))
        file = LuoFile(1, state, COMPATIBLE_V2)
        return Luo(sessions=(Session("vm", (file,)),)).write(writer)


def write_memfd(path: Path, pages: int, *, scattered: bool = False, data: Path | None = None) -> None:
    """Write the handover of a memfd of `pages` pages.

    Args:
        path: of the image, sparse and raw.
        pages: how many folios of one page the file has.
        scattered: the folios lie in no order.
        data: the file's contents; by default a hole.
    """
    place = np.arange(pages, dtype=np.uint64)
    if scattered:
        np.random.default_rng(4).shuffle(place)
    folios = place * np.uint64(PAGE) + np.uint64(FOLIOS)
    built = build_handover(
        Description(
            subtrees={NODE_NAME: _Memfd(folios // np.uint64(PAGE))},
            metadata_start=FDT,
            metadata_end=FOLIOS // 2,
        )
    )
    built.image.to_raw(path, end=FOLIOS + pages * PAGE)
    phys, order = np.array(sorted(built.blocks), np.uint64).T
    blocks = {int(each): phys[order == each] for each in np.unique(order)}
    blocks[0] = np.concatenate([blocks[0], folios])
    with path.open("r+b") as file:
        root = write_map(file.fileno(), leaves_of(blocks), FOLIOS // 2)
        old, new = (value.to_bytes(8, "little") for value in (built.tree.root, root))
        os.pwrite(file.fileno(), built.fdt.replace(old, new), FDT)
        if data is not None:
            _scatter(file.fileno(), np.memmap(data, np.uint8).reshape(pages, PAGE), place)


def _scatter(file: int, pages: U8, place: U64) -> None:
    """Put each page of the file at its place, many at a time."""
    source = np.argsort(place)
    step = (64 << 20) // PAGE
    for at in range(0, len(place), step):
        os.pwrite(file, np.ascontiguousarray(pages[source[at : at + step]]).data, FOLIOS + at * PAGE)
