"""The `memblock` node: regions that `reserve_mem=` set aside, handed to the next kernel (mm/memblock.c)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from khodump.abi.kexec_handover import PROP_COMPATIBLE
from khodump.abi.memblock import COMPATIBLE, NODE_NAME, PROP_SIZE, PROP_START, RESERVE_MEM_COMPATIBLE
from khodump.errors import FdtError
from khodump.fdt import parse_fdt, property_entry
from khodump.findings import Entry, Finding
from khodump.owner import Owner, quoted
from khodump.problems import BlobIncompatible, BlobInvalid
from khodump.rows import Fact, Kind
from khodump.subtree import Blob, Claims, Context, Decoded, Keep, blob_of


@dataclass(frozen=True, slots=True)
class ReserveMem:
    """A region: physical address and size in bytes, and the property that names it.

    One smaller than a page is listed, but not preserved.
    """

    name: str
    start: int
    size: int
    entry: Entry | None = field(default=None, compare=False)


def decode(context: Context, blob: Blob) -> Decoded:
    """The regions, as a tuple of `ReserveMem`."""
    try:
        tree = parse_fdt(blob.data)
    except FdtError as error:
        message = f"memblock's FDT at {blob.phys:#x} is damaged: {error}"
        return Decoded("damaged FDT", findings=(context.problem(BlobInvalid(), blob.phys, message),))
    said = tree.string(PROP_COMPATIBLE)
    findings: list[Finding] = []
    if said != COMPATIBLE:
        message = f"memblock's FDT at {blob.phys:#x} says {said}, not {COMPATIBLE}"
        findings.append(context.problem(BlobIncompatible(), blob.phys, message))
    regions: list[ReserveMem] = []
    for node in tree.children:
        start, size = node.u64(PROP_START), node.u64(PROP_SIZE)
        if node.string(PROP_COMPATIBLE) != RESERVE_MEM_COMPATIBLE or start is None or size is None:
            message = f"reserve_mem region {quoted(node.name)} has no start, size or {RESERVE_MEM_COMPATIBLE}"
            findings.append(context.problem(BlobInvalid(), blob.phys, message))
        else:
            entry = property_entry(node, PROP_START, blob.phys, "memblock FDT")
            regions.append(ReserveMem(node.name, start, size, entry))
    facts = tuple(
        Fact(
            f"region {quoted(region.name)}", f"{region.start:#x}..{region.start + region.size:#x}", Kind.TEXT
        )
        for region in regions
    )
    return Decoded(
        said or "no compatible",
        facts,
        tuple(regions),
        tuple(findings),
        lambda: _claims(context, regions),
        lambda: iter((Keep.of_fdt(blob_of(NODE_NAME), "blob", blob.phys, blob.data),)),
    )


def _claims(context: Context, regions: list[ReserveMem]) -> Iterator[Claims]:
    for region in regions:
        if region.size >= context.page_size:
            owner = Owner(NODE_NAME, part=f"reserve_mem {quoted(region.name)}")
            yield Claims.of(owner, (region.start, region.size), entry=region.entry)
