"""A whole handover: the root FDT, the map, and what its users left."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import chunks, fdt, luo, radix, tables, users
from .claims import Claims
from .dialects import Dialect
from .luo import Luo
from .maps import PreservedMap
from .memory import Memory
from .users import KhoTest, Metadata, Region


@dataclass(frozen=True)
class Circumstances:
    """What a handover does not say of itself, and whoever reads it has to know."""

    dialect: Dialect
    page_shift: int
    ram_end: int
    inline_test: bool = False

    @property
    def page_size(self) -> int:
        return 1 << self.page_shift


@dataclass
class Answer:
    """All that is preserved, and by whom."""

    fdt_at: int
    root: fdt.Node
    preserved: PreservedMap
    claims: Claims
    luo: Luo | None = None
    regions: list[Region] = field(default_factory=list)
    test: KhoTest | None = None
    metadata: Metadata | None = None


def read(memory: Memory, fdt_at: int, known: Circumstances) -> Answer:
    """Follow everything from the root FDT at this address."""
    root = read_fdt(memory, fdt_at)
    preserved = read_map(memory, root, known)
    claims = Claims(known.page_size, preserved)
    claims.block("KHO/root FDT", fdt_at)
    answer = Answer(fdt_at, root, preserved, claims)
    for child in root.children:
        at = child.u64(known.dialect.blob_property)
        if at:
            _read_user(memory, answer, child, at, known)
    return answer


def read_map(memory: Memory, root: fdt.Node, known: Circumstances) -> PreservedMap:
    """The map alone."""
    dialect = known.dialect
    at = root.u64(dialect.map_property)
    if not at:
        return PreservedMap()
    if dialect.family == "chunks":
        return chunks.walk(memory, at, known.page_shift, dialect.bitmap_bytes(known.page_shift))
    if dialect.family == "tables":
        return tables.walk(memory, at, known.page_shift)
    return radix.walk(memory, at, dialect, known.page_shift, known.ram_end)


def read_fdt(memory: Memory, phys: int) -> fdt.Node:
    return fdt.parse(memory.read(phys, fdt.total_size(memory.read(phys, 8))))


def _read_user(memory: Memory, answer: Answer, child: fdt.Node, at: int, known: Circumstances) -> None:
    shift = known.page_shift
    answer.claims.block(f"{child.name}/blob", at, child.u64("blob-size") or 1)
    if child.name == "LUO":
        answer.luo = _read_luo(memory, at, known)
        answer.luo.claim(answer.claims)
    elif child.name == "memblock":
        answer.regions = users.read_memblock(read_fdt(memory, at))
        for region in answer.regions:
            answer.claims.add(f'memblock/reserve_mem "{region.name}"', region.start, region.size)
    elif child.name == "kho_test":
        answer.test = users.read_kho_test(memory, read_fdt(memory, at), shift, inline=known.inline_test)
        answer.test.claim(answer.claims)
    elif child.name == "kexec-metadata":
        answer.metadata = users.read_metadata(memory, at)


def _read_luo(memory: Memory, at: int, known: Circumstances) -> Luo:
    if known.dialect.luo == "luo-v1":
        return luo.read_v1(memory, read_fdt(memory, at), known.page_shift)
    return luo.read_v5(memory, at, known.page_shift)
