"""Arrays of entries in contiguous pages, as LUO's lists were before there were blocks, and as its list of FLBs still is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from khodump.abi.layout import dtype_of
from khodump.columns.arrays import AnyArray
from khodump.findings import Entry, Finding
from khodump.memory import Hole
from khodump.problems import BlockCountInvalid, ListPageShared
from khodump.subtree import Context
from khodump.subtrees.luo_state import LuoArray


@dataclass(frozen=True, eq=False)
class ArrayList:
    """An array that was read.

    Attributes:
        entries: structured array of all entries.
        findings: what is wrong with it.
    """

    entries: AnyArray
    findings: tuple[Finding, ...] = ()


def read_array(context: Context, array: LuoArray, head: int, count: int | None = None) -> ArrayList:
    """The array that begins at physical address `head` (0 is none).

    Args:
        context: whose it is; where two others have read one of its pages, it is not read.
        array: what it is, and how it is laid out.
        head: its physical address.
        count: of its entries; by default the u64 before the first of them says it.
    """
    entry = dtype_of(array.schema)
    none: AnyArray = np.zeros(0, entry)
    if not head:
        return ArrayList(none)
    if context.refuses(head, array.length):
        message = (
            f"the list of {array.what}, at {head:#x}, has pages that two other lists name too; it is not read"
        )
        return ArrayList(none, (context.problem(ListPageShared(head, 1), head, message),))
    data = context.memory.read(head, array.length)
    if isinstance(data, Hole):
        return ArrayList(none, (context.unreadable(data, f"the list of {array.what}, at {head:#x},"),))
    said = int.from_bytes(data[array.offset - 8 : array.offset], "little") if count is None else count
    capacity = (array.length - array.offset) // entry.itemsize
    entries = np.frombuffer(data, entry, min(said, capacity), array.offset)
    if said <= capacity:
        return ArrayList(entries)
    message = f"the list of {array.what}, at {head:#x}, counts {said} entries, but holds {capacity}"
    place = Entry("count of the list", head + array.offset - 8) if count is None else None
    return ArrayList(entries, (context.problem(BlockCountInvalid(said), head, message, entry=place),))
