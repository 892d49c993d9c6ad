"""What in LUO's state no kernel writes, though it can be read: in the list of FLBs, and in files' lists of folios."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from khodump.abi.layout import dtype_of
from khodump.abi.luo import LUO_FLB_HEADER_SER
from khodump.findings import Finding
from khodump.memory import Hole
from khodump.owner import quoted
from khodump.problems import FlbListInvalid, MemfdFolioMissing, MemfdListUnread
from khodump.subtree import Context
from khodump.subtrees.luo_state import Luo, file_owner, flbs_array
from khodump.subtrees.memfd import Memfd


def flb_problems(context: Context, head: int) -> Iterator[Finding]:
    """What is wrong with the page of FLBs at `head`; more entries than it holds are told by who reads them.

    luo_flb_setup_incoming() of 7.3.4 takes it on trust. Serialising writes entries for FLBs in use alone.
    """
    array = flbs_array(context.page_size)
    data = context.memory.read(head, array.length)
    if isinstance(data, Hole):
        return
    header = LUO_FLB_HEADER_SER.parse(data)
    entry = dtype_of(array.schema)
    entries = np.frombuffer(data, entry, (array.length - array.offset) // entry.itemsize, array.offset)
    if header.count > len(entries):
        return
    counted, rest = entries[: header.count], entries[header.count :]
    unnamed = sum(not _has_name(row) for row in counted)
    left_out = sum(_is_entry(row) for row in rest)
    odd = {
        f"its header counts {header.pgcnt} pages, not 1": header.pgcnt != 1,
        f"{unnamed} of its {header.count} entries have no name, or one without an end": unnamed,
        "some of its entries have no users": (counted["count"] == 0).any(),
        f"{left_out} more stand behind the {header.count} entries that it counts": left_out,
    }
    told = [what for what, is_so in odd.items() if is_so]
    if told:
        problem = FlbListInvalid(header.count, header.pgcnt)
        yield context.problem(problem, head, f"the list of LUO's FLBs, at {head:#x}: {'; '.join(told)}")


def _has_name(row: Any) -> bool:  # noqa: ANN401 - a numpy record
    """Whether it has a name that ends."""
    name, nul, _ = bytes(row["name"]).partition(b"\0")
    return bool(name and nul)


def _is_entry(row: Any) -> bool:  # noqa: ANN401 - as above
    """Whether an uncounted entry is one all the same: a name with zeros behind it, for the page came zeroed, and users."""
    _, _, padding = bytes(row["name"]).partition(b"\0")
    return _has_name(row) and not padding.strip(b"\0") and int(row["count"]) > 0


def luo_doubts(context: Context, luo: Luo) -> Iterator[Finding]:
    """Findings about the lists of all files."""
    for session in luo.sessions:
        for file in session.files:
            if file.state is not None:
                of_file = context.of(file_owner(session.name, file.token, file.handler))
                yield from _memfd_doubts(
                    of_file, file.state, f"file {file.token:#x} of session {quoted(session.name)}"
                )


def _memfd_doubts(context: Context, memfd: Memfd, what: str) -> Iterator[Finding]:
    listing = memfd.listing
    if listing.unread:
        why = context.memory.hole_at(listing.unread.phys, listing.unread.presence)
        message = (
            f"{what}: {listing.read} of {memfd.nr_folios} folios listed; its list goes on at "
            f"{listing.unread.phys:#x}, which is {why}"
        )
        problem = MemfdListUnread(memfd.nr_folios, listing.read)
        yield context.problem(problem, listing.unread.phys, message)
    if (
        listing.nameless and not memfd.findings
    ):  # of a count that is wrong, the rest of the last page is a consequence
        message = (
            f"{what}: {listing.nameless} of {listing.read} entries of its list name no memory; a kernel fills the holes "
            "of a file before it preserves it, and writes no such entry"
        )
        entry = None if listing.first_nameless is None else memfd.entry_of(listing.first_nameless)
        missing = MemfdFolioMissing(memfd.nr_folios, listing.nameless)
        yield context.problem(missing, memfd.phys, message, entry=entry)
