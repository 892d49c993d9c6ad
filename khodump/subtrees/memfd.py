"""memfds preserved through LUO: mm/memfd_luo.c. The file handler of `memfd-v1` and `memfd-v2`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

import numpy as np

from khodump.abi.kexec_handover import MAX_PHYS_BITS
from khodump.abi.layout import Layout, dtype_of, offset_of
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
    MemfdLuoSer,
)
from khodump.abi.vmalloc import KHO_VMALLOC
from khodump.columns.arrays import U8, U64
from khodump.errors import FdtError
from khodump.fdt import MAGIC, parse_fdt
from khodump.findings import Entry, Finding
from khodump.memory import Hole, Presence
from khodump.owner import Owner
from khodump.problems import BlobInvalid, MemfdFolioCount
from khodump.subtree import WHOLE_BLOCK, Claims, Context, Keep
from khodump.subtrees.vmalloc import VmallocArea, chain_owner, open_vmalloc

COMPATIBLES: Final = (COMPATIBLE_V1, COMPATIBLE_V2)

#: The part of a file that its folios are.
FOLIOS: Final = "folios"

_ENTRY = dtype_of(MEMFD_LUO_FOLIO_SER)
#: What a folio takes in the columns of a `FolioBatch`.
_FOLIO_BYTES: Final = 4 * 8

_STATES: Final[Mapping[str, Layout[Any]]] = {COMPATIBLE_V1: MEMFD_LUO_SER_V1, COMPATIBLE_V2: MEMFD_LUO_SER}
#: No kernel has more flags: entries beyond, or beyond MAX_PHYS_BITS, are other data.
_MAX_FLAGS: Final = 0xF


def array_owner(file: Owner) -> Owner:
    """Whose the array of a file's folios is."""
    return file.with_part("folio array")


def array_owners(file: Owner) -> tuple[Owner, Owner]:
    """Whose all is that a file's array of folios takes: the array, and the chain that leads to it."""
    return array_owner(file), chain_owner(array_owner(file))


@dataclass(frozen=True, eq=False)
class FolioBatch:
    """Some folios of a memfd, as columns.

    Attributes:
        phys: uint64, physical bytes.
        index: uint64, page offset in the file.
        flags: uint64, `FolioFlags`.
        number: uint64, of the entry in the list.
        missing: entries that the image does not hold, and that are in no column.
        unread: the first page of the list among these that the image does not hold; None when it holds all.
        nameless: uint64, numbers of the entries that were read and name no memory, and that are in no other column.
    """

    phys: U64
    index: U64
    flags: U64
    number: U64
    missing: int
    unread: Hole | None
    nameless: U64


class Listing(NamedTuple):
    """What reading the whole list of a memfd's folios comes to.

    Attributes:
        read: entries that the image holds.
        nameless: those among them that name no memory.
        first_nameless: number of the first of these; None where there is none.
        unread: the first page of the list that the image does not hold; None when it holds all.
    """

    read: int
    nameless: int
    first_nameless: int | None
    unread: Hole | None


@dataclass(frozen=True, eq=False)
class Memfd:
    """A preserved memfd.

    Attributes:
        version: its compatible string; `memfd-v1 (draft)` for the FDT that was posted under that name.
        phys: physical address of its state.
        pos, size: position and size of the file in bytes.
        seals: F_SEAL_* bits; None before they were kept.
        nr_folios: how many entries its array has.
        array: the array of folios.
        findings: what is wrong with it.
    """

    version: str
    phys: int
    pos: int
    size: int
    seals: int | None
    nr_folios: int
    array: VmallocArea
    findings: tuple[Finding, ...]

    @property
    def is_draft(self) -> bool:
        """Whether its folio words are the other way around."""
        return self.version.endswith("(draft)")

    def folios(self) -> Iterable[FolioBatch]:
        """The folios, in bounded batches, in the order of the array."""
        return self._kept_folios if self._may_keep else self._read_folios()

    @cached_property
    def _may_keep(self) -> bool:
        return self.array.context.may_keep(self.nr_folios * _FOLIO_BYTES)

    @cached_property
    def _kept_folios(self) -> tuple[FolioBatch, ...]:
        return tuple(self._read_folios())

    def _read_folios(self) -> Iterator[FolioBatch]:
        page = 0
        for data, presence in self.array.batches(self.nr_folios * _ENTRY.itemsize):
            yield self._batch(page, data, presence)
            page += len(data)

    def _batch(self, page: int, data: U8, presence: U8) -> FolioBatch:
        """The entries in some pages of the list, of which `page` is the number of the first."""
        per_page = data.shape[1] // _ENTRY.itemsize
        start = page * per_page
        stop = min(start + len(data) * per_page, self.nr_folios)
        number = np.arange(start, stop, dtype=np.uint64)
        entries = data.reshape(-1).view(_ENTRY)[: stop - start]
        lost = np.flatnonzero(presence != Presence.PRESENT)
        unread = None
        if len(lost):
            readable = np.repeat(presence == Presence.PRESENT, per_page)[: stop - start]
            entries, number = entries[readable], number[readable]
            phys = self.array.pages(page + int(lost[0]), page + int(lost[0]) + 1)[0]
            unread = Hole(int(phys), Presence(int(presence[lost[0]])))
        missing = stop - start - len(entries)
        pfn, flags = self._split(entries["folio"].astype(np.uint64))
        index = entries["index"].astype(np.uint64)
        shift = np.uint64(self.array.context.page_size.bit_length() - 1)
        is_named = (pfn != 0) & (pfn >> (np.uint64(64) - shift) == 0)  # beyond, there is no memory to name
        nameless = number[~is_named]
        if len(nameless):
            pfn, index, flags, number = pfn[is_named], index[is_named], flags[is_named], number[is_named]
        return FolioBatch(pfn << shift, index, flags, number, missing, unread, nameless)

    def entry_of(self, number: int) -> Entry:
        """Where an entry of the list of folios stands."""
        offset = number * _ENTRY.itemsize
        page = offset // self.array.context.page_size
        return Entry(f"entry {number} of the list of folios, in its page {page}", self.array.phys_of(offset))

    def field_of(self, name: str) -> Entry | None:
        """Where a field of the file's state stands; None for a draft, whose state is an FDT, or a field that it has not."""
        return _field(self.version, self.phys, name)

    @cached_property
    def listing(self) -> Listing:
        """Whether the list is there, and names memory; reads all of it."""
        read = 0
        nameless = 0
        first: int | None = None
        unread: Hole | None = None
        for batch in self.folios():
            read += len(batch.phys) + len(batch.nameless)
            nameless += len(batch.nameless)
            unread = unread or batch.unread
            if first is None and len(batch.nameless):
                first = int(batch.nameless[0])
        return Listing(read, nameless, first, unread)

    def _split(self, words: U64) -> tuple[U64, U64]:
        """PFNs and flags of folio words."""
        bits = np.uint64(DRAFT_FLAG_BITS if self.is_draft else PFN_BITS)
        low, high = words & ((np.uint64(1) << bits) - np.uint64(1)), words >> bits
        return (high, low) if self.is_draft else (low, high)

    def claims(self, owner: Owner, entry: Entry | None = None) -> Iterator[Claims]:
        """Its state, its array of folios, and the folios; `entry` names the state."""
        context = self.array.context
        state = self.phys - self.phys % context.page_size
        yield Claims.of(owner.with_part("state"), (state, context.page_size), entry=entry)
        yield from self.array.claims(array_owner(owner))
        for batch in self.folios():
            yield Claims.equal(
                owner.with_part(FOLIOS), batch.phys, WHOLE_BLOCK, partial(self._entry_in, batch)
            )

    def _entry_in(self, batch: FolioBatch, row: int) -> Entry:
        """The entry of a row of some folios."""
        return self.entry_of(int(batch.number[row]))

    def keeps(self, owner: Owner) -> Iterator[Keep]:
        """Its state and its array of folios, but not the folios."""
        memory, size = self.array.context.memory, self.array.context.page_size
        state = memory.read(self.phys, size - self.phys % size) if self.is_draft else b""
        if self.is_draft and not isinstance(state, Hole):
            yield Keep.of_fdt(owner.with_part("state"), "state of the file", self.phys, state)
        else:
            yield Keep.of(
                owner.with_part("state"), "state of the file", (self.phys, _STATES[self.version].size)
            )
        yield from self.array.chain_keeps(array_owner(owner))
        yield from self._array_keeps(array_owner(owner), "list of folios")

    def _array_keeps(self, owner: Owner, what: str) -> Iterator[Keep]:
        """The entries of the array; pages with entries that no kernel writes are doubtful."""
        size, done = self.array.context.page_size, 0
        per_page = np.uint64(size // _ENTRY.itemsize)
        for data, presence in self.array.batches(self.nr_folios * _ENTRY.itemsize):
            index = np.arange(done, done + len(data), dtype=np.uint64)
            left = np.minimum(np.uint64(self.nr_folios) - index * per_page, per_page)
            pfn, flags = self._split(data.view(_ENTRY)["folio"].astype(np.uint64))
            strange = (pfn >= np.uint64((1 << MAX_PHYS_BITS) // size)) | (flags > _MAX_FLAGS)
            strange &= np.arange(per_page, dtype=np.uint64) < left[:, None]
            doubtful = strange.any(axis=1) & (presence == Presence.PRESENT)
            start, length = self.array.pages(done, done + len(data)), left * np.uint64(_ENTRY.itemsize)
            yield Keep(owner, what, start[~doubtful], length[~doubtful])
            yield Keep(owner, what, start[doubtful], length[doubtful], doubtful=True)
            done += len(data)


def decode_memfd(context: Context, compatible: str, phys: int, what: str) -> Memfd | Finding:
    """The memfd whose state is at physical address `phys`.

    Args:
        context: what to read from.
        compatible: one of COMPATIBLES.
        phys: physical address, from the file's entry.
        what: the file, for a person.
    """
    data = context.memory.read(phys, context.page_size - phys % context.page_size)
    if isinstance(data, Hole):
        return context.unreadable(data, f"the state of {what}, at {phys:#x},")
    version, told = compatible, None
    if data.startswith(MAGIC):
        version, told = f"{compatible} (draft)", _draft(data)
    elif compatible == COMPATIBLE_V1 and len(data) >= MEMFD_LUO_SER_V1.size:
        v1 = MEMFD_LUO_SER_V1.parse(data)
        told = MemfdLuoSer(v1.pos, v1.size, 0, 0, v1.nr_folios, v1.folios)
    elif compatible == COMPATIBLE_V2 and len(data) >= MEMFD_LUO_SER.size:
        told = MEMFD_LUO_SER.parse(data)
    if told is None:
        return context.problem(BlobInvalid(), phys, f"the state of {what}, at {phys:#x}, is no {compatible}")
    folios = _field(version, phys, "folios")
    array = open_vmalloc(context, told.folios, f"the folio array of {what}", folios.at if folios else None)
    findings = list(array.findings)
    if told.nr_folios * _ENTRY.itemsize > array.size and not findings:
        message = (
            f"{what} counts {told.nr_folios} folios, but its array holds {array.size // _ENTRY.itemsize}"
        )
        entry = _field(version, phys, "nr_folios")
        findings.append(context.problem(MemfdFolioCount(told.nr_folios), phys, message, entry=entry))
    seals = told.seals if version == COMPATIBLE_V2 else None
    nr_folios = min(told.nr_folios, array.size // _ENTRY.itemsize)
    return Memfd(version, phys, told.pos, told.size, seals, nr_folios, array, tuple(findings))


def _field(version: str, phys: int, name: str) -> Entry | None:
    """Where a field of the state at `phys` stands; None for a version whose state is an FDT, or has no such field."""
    layout = _STATES.get(version)
    if layout is None or name not in (dtype_of(layout.schema).fields or {}):
        return None
    return Entry(f"{name} of the file's state", phys + offset_of(layout.schema, name))


def _draft(data: bytes) -> MemfdLuoSer | None:
    """The FDT of the posted draft as the struct that came after it."""
    try:
        tree = parse_fdt(data)
    except FdtError:
        return None
    pos, size, count = (tree.u64(name) for name in (PROP_POS, PROP_SIZE, PROP_NR_FOLIOS))
    folios = tree.properties.get(PROP_FOLIOS, b"")
    if pos is None or size is None or count is None or len(folios) != KHO_VMALLOC.size:
        return None
    return MemfdLuoSer(pos, size, 0, 0, count, folios)
