"""The `kho_test` node of lib/test_kho.c: folios of random orders, listed in an array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from khodump.abi.kexec_handover import PROP_COMPATIBLE
from khodump.abi.kho_test import (
    COMPATIBLE,
    DATA_NODE,
    MAGIC,
    NODE_NAME,
    PROP_CSUM,
    PROP_FOLIOS_INFO,
    PROP_MAGIC,
    PROP_NR_FOLIOS,
)
from khodump.abi.vmalloc import KHO_VMALLOC
from khodump.columns.arrays import U64
from khodump.errors import FdtError
from khodump.fdt import FdtNode, parse_fdt, property_entry
from khodump.findings import Entry, Finding
from khodump.memory import Hole
from khodump.owner import Owner
from khodump.problems import BlobIncompatible, BlobInvalid
from khodump.rows import Fact, Kind
from khodump.subtree import Blob, Claims, Context, Decoded, Keep, blob_of
from khodump.subtrees.vmalloc import VmallocArea, open_vmalloc

#: Whose the array of folios is.
_LIST_OWNER: Final = Owner(NODE_NAME, part="folios_info")
_ENTRY: Final = np.dtype("<u8")


@dataclass(frozen=True, eq=False)
class KhoTest:
    """What the module preserved.

    Attributes:
        phys: uint64, physical address of each folio.
        order: uint64, of each.
        csum: checksum of their contents.
        array: the vmalloc area that lists them; None in 6.17, where the FDT does.
        listed: where the FDT has them, or the descriptor of that area.
    """

    phys: U64
    order: U64
    csum: int
    array: VmallocArea | None
    listed: Entry | None = None

    def entry_of(self, row: int) -> Entry | None:
        """Where a folio is named."""
        offset = row * _ENTRY.itemsize
        if self.array is not None:
            return Entry(f"entry {row} of the list of folios", self.array.phys_of(offset))
        if self.listed is None:
            return None
        return Entry(f"entry {row} of the {self.listed.what}", self.listed.at + offset)


def decode(context: Context, blob: Blob) -> Decoded:
    """The folios, as `KhoTest`."""
    try:
        tree = parse_fdt(blob.data)
    except FdtError as error:
        message = f"kho_test's FDT at {blob.phys:#x} is damaged: {error}"
        return Decoded("damaged FDT", findings=(context.problem(BlobInvalid(), blob.phys, message),))
    said = tree.string(PROP_COMPATIBLE)
    data = tree.child(DATA_NODE)
    in_tree = partial(property_entry, fdt_phys=blob.phys, tree="kho_test FDT")
    if said != COMPATIBLE or _u32(tree, PROP_MAGIC) != MAGIC or data is None:
        message = f"kho_test's FDT at {blob.phys:#x} has no {COMPATIBLE}, its magic and {DATA_NODE} node"
        entry = in_tree(tree, PROP_COMPATIBLE if said != COMPATIBLE else PROP_MAGIC)
        finding = context.problem(BlobIncompatible(), blob.phys, message, entry=entry)
        return Decoded(said or "no compatible", findings=(finding,))
    count = _u32(data, PROP_NR_FOLIOS)
    listed = in_tree(data, PROP_FOLIOS_INFO)
    raw, area, findings = _folios(context, data.properties.get(PROP_FOLIOS_INFO, b""), count, listed)
    entries = np.frombuffer(raw, _ENTRY, min(count, len(raw) // _ENTRY.itemsize)).astype(np.uint64)
    if len(entries) < count and not findings:
        message = f"kho_test counts {count} folios, but lists {len(entries)}"
        entry = in_tree(data, PROP_NR_FOLIOS)
        findings = (context.problem(BlobInvalid(count), blob.phys, message, entry=entry),)
    low = np.uint64(context.page_size - 1)
    test = KhoTest(entries & ~low, entries & low, _u32(data, PROP_CSUM), area, listed)
    facts = (Fact("folios", count, Kind.COUNT), Fact("checksum", test.csum, Kind.ADDRESS))
    return Decoded(said, facts, test, findings, lambda: _claims(context, test), lambda: _keeps(blob, test))


def _folios(
    context: Context, value: bytes, count: int, listed: Entry | None
) -> tuple[bytes, VmallocArea | None, tuple[Finding, ...]]:
    """The array of folios. Two folios of 6.17 have the length of a struct kho_vmalloc; its reserved bits tell them."""
    if len(value) != KHO_VMALLOC.size:
        return value, None, ()
    area = open_vmalloc(context, value, "kho_test's folios_info", None if listed is None else listed.at)
    if count == 2 and area.findings:
        return value, None, ()
    data = area.read(count * 8)
    if isinstance(data, Hole):
        return b"", area, (*area.findings, context.unreadable(data, "kho_test's list of folios"))
    return data, area, area.findings


def _u32(node: FdtNode, name: str) -> int:
    return int.from_bytes(node.properties.get(name, b"")[:4], "little")


def _claims(context: Context, test: KhoTest) -> Iterator[Claims]:
    if test.array is not None:
        yield from test.array.claims(_LIST_OWNER)
    yield Claims(
        Owner(NODE_NAME, part="folios"), test.phys, np.uint64(context.page_size) << test.order, test.entry_of
    )


def _keeps(blob: Blob, test: KhoTest) -> Iterator[Keep]:
    yield Keep.of_fdt(blob_of(NODE_NAME), "blob", blob.phys, blob.data)
    if test.array is not None:
        yield from test.array.keeps(_LIST_OWNER, "list of folios", len(test.phys) * 8)
