"""The `kho_test` node of lib/test_kho.c: folios of random orders, listed in an array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
from khodump.fdt import FdtNode, parse_fdt
from khodump.findings import Finding
from khodump.memory import Hole
from khodump.owner import Owner
from khodump.problems import BlobIncompatible, BlobInvalid
from khodump.rows import Fact, Kind
from khodump.subtree import Blob, Claims, Context, Decoded, Keep, blob_of
from khodump.subtrees.vmalloc import VmallocArea, open_vmalloc

#: Whose the array of folios is.
_LIST_OWNER: Final = Owner(NODE_NAME, part="folios_info")


@dataclass(frozen=True, eq=False)
class KhoTest:
    """What the module preserved.

    Attributes:
        phys: uint64, physical address of each folio.
        order: uint64, of each.
        csum: checksum of their contents.
        array: the vmalloc area that lists them; None in 6.17, where the FDT does.
    """

    phys: U64
    order: U64
    csum: int
    array: VmallocArea | None


def decode(context: Context, blob: Blob) -> Decoded:
    """The folios, as `KhoTest`."""
    try:
        tree = parse_fdt(blob.data)
    except FdtError as error:
        message = f"kho_test's FDT at {blob.phys:#x} is damaged: {error}"
        return Decoded("damaged FDT", findings=(context.problem(BlobInvalid(), blob.phys, message),))
    said = tree.string(PROP_COMPATIBLE)
    data = tree.child(DATA_NODE)
    if said != COMPATIBLE or _u32(tree, PROP_MAGIC) != MAGIC or data is None:
        message = f"kho_test's FDT at {blob.phys:#x} has no {COMPATIBLE}, its magic and {DATA_NODE} node"
        return Decoded(
            said or "no compatible", findings=(context.problem(BlobIncompatible(), blob.phys, message),)
        )
    count = _u32(data, PROP_NR_FOLIOS)
    raw, area, findings = _folios(context, data.properties.get(PROP_FOLIOS_INFO, b""), count)
    entries = np.frombuffer(raw, np.dtype("<u8"), min(count, len(raw) // 8)).astype(np.uint64)
    if len(entries) < count and not findings:
        message = f"kho_test counts {count} folios, but lists {len(entries)}"
        findings = (context.problem(BlobInvalid(count), blob.phys, message),)
    low = np.uint64(context.page_size - 1)
    test = KhoTest(entries & ~low, entries & low, _u32(data, PROP_CSUM), area)
    facts = (Fact("folios", count, Kind.COUNT), Fact("checksum", test.csum, Kind.ADDRESS))
    return Decoded(said, facts, test, findings, lambda: _claims(context, test), lambda: _keeps(blob, test))


def _folios(
    context: Context, value: bytes, count: int
) -> tuple[bytes, VmallocArea | None, tuple[Finding, ...]]:
    """The array of folios. Two folios of 6.17 have the length of a struct kho_vmalloc; its reserved bits tell them."""
    if len(value) != KHO_VMALLOC.size:
        return value, None, ()
    area = open_vmalloc(context, value, "kho_test's folios_info")
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
    yield Claims(Owner(NODE_NAME, part="folios"), test.phys, np.uint64(context.page_size) << test.order)


def _keeps(blob: Blob, test: KhoTest) -> Iterator[Keep]:
    yield Keep.of_fdt(blob_of(NODE_NAME), "blob", blob.phys, blob.data)
    if test.array is not None:
        yield from test.array.keeps(_LIST_OWNER, "list of folios", len(test.phys) * 8)
