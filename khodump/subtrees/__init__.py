"""One file per user of KHO, and the table by which the name of its node picks one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Final

from khodump.abi.kexec_handover import PROP_BLOB_SIZE, PROP_FDT, PROP_PRESERVED_DATA
from khodump.fdt import FDT_HEADER, FdtNode, property_entry, total_size
from khodump.findings import Entry, Finding
from khodump.memory import Hole
from khodump.owner import Owner
from khodump.problems import SubtreeIncomplete
from khodump.rows import Fact, Kind
from khodump.subtree import Blob, Budget, Context, Decoded, Subtree, Visits

_MAX_BLOB: Final = 1 << 16  # every known blob is one page at most
_DUMPED: Final = 64


@cache
def _decoders() -> Mapping[str, Callable[[Context, Blob], Decoded]]:
    """The users by the names of their nodes; imported when one is looked at, which not every command does."""
    from khodump.abi import kexec_metadata as kexec_metadata_abi  # noqa: PLC0415 - see above
    from khodump.abi import kho_test as kho_test_abi  # noqa: PLC0415
    from khodump.abi import luo as luo_abi  # noqa: PLC0415
    from khodump.abi import memblock as memblock_abi  # noqa: PLC0415
    from khodump.subtrees import kexec_metadata, kho_test, luo, memblock  # noqa: PLC0415

    return {
        kexec_metadata_abi.NODE_NAME: kexec_metadata.decode,
        kho_test_abi.NODE_NAME: kho_test.decode,
        luo_abi.NODE_NAME: luo.decode,
        memblock_abi.NODE_NAME: memblock.decode,
    }


def open_subtrees(context: Context, tree: FdtNode, fdt_phys: int | None = None) -> tuple[Subtree, ...]:
    """All users of the handover with this root FDT, in its order; those nobody knows are shown as bytes.

    Args:
        context: what to read from.
        tree: the root FDT.
        fdt_phys: where it lies, if that is known.
    """
    together = context._replace(visits=Visits(), budget=Budget())
    return tuple(_open(together.of(Owner(node.name)), node, fdt_phys) for node in tree.children)


def _open(context: Context, node: FdtNode, fdt_phys: int | None) -> Subtree:
    entry = _entry(node, fdt_phys)
    blob = _blob(context, node)
    if isinstance(blob, Finding):
        finding = replace(blob, entry=entry)
        return Subtree(node.name, None, Decoded("unreadable", findings=(finding,)), entry)
    return Subtree(node.name, blob, _decoders().get(node.name, _unknown)(context, blob), entry)


def _entry(node: FdtNode, fdt_phys: int | None) -> Entry | None:
    """The property that says where the blob is."""
    prop = next((prop for prop in (PROP_PRESERVED_DATA, PROP_FDT) if node.u64(prop) is not None), None)
    if prop is None or fdt_phys is None:
        return None
    return property_entry(node, prop, fdt_phys, "root FDT")


def _blob(context: Context, node: FdtNode) -> Blob | Finding:
    """What the node points to: `preserved-data` and, from kho-v3 on, `blob-size`; before kho-v2 an FDT at `fdt`."""
    phys = node.u64(PROP_PRESERVED_DATA)
    phys = node.u64(PROP_FDT) if phys is None else phys
    if phys is None:
        have = ", ".join(node.properties) or "nothing"
        message = f"node {node.name} has no 8-byte {PROP_PRESERVED_DATA} or {PROP_FDT} (it has {have})"
        return context.problem(SubtreeIncomplete(), None, message)
    size = node.u64(PROP_BLOB_SIZE)
    if size is None:
        head = context.memory.read(phys, FDT_HEADER.size)
        if isinstance(head, Hole):
            return context.unreadable(head, f"the FDT of node {node.name}, at {phys:#x},")
        size = total_size(head)
        if size is None:
            message = f"node {node.name} has no 8-byte {PROP_BLOB_SIZE}, and there is no FDT at {phys:#x}"
            return context.problem(SubtreeIncomplete(), phys, message)
    data = context.memory.read(phys, min(size, _MAX_BLOB))
    if isinstance(data, Hole):
        return context.unreadable(data, f"the blob of node {node.name}, at {phys:#x},")
    return Blob(phys, size, data)


def _unknown(context: Context, blob: Blob) -> Decoded:  # noqa: ARG001 - a decoder like the others
    """A user nobody knows: its first bytes."""
    rows = range(0, min(len(blob.data), _DUMPED), 16)
    facts = (Fact(f"+{at:#04x}", _hex_row(blob.data[at : at + 16]), Kind.TEXT) for at in rows)
    return Decoded("unknown user", tuple(facts))


def _hex_row(data: bytes) -> str:
    letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{data.hex(' '):47}  {letters}"
