"""What only reading a file's whole list of folios shows: that part of it is missing, or names no memory."""

from __future__ import annotations

from collections.abc import Iterator

from khodump.findings import Finding
from khodump.problems import MemfdFolioMissing, MemfdListUnread
from khodump.subtree import Context
from khodump.subtrees.luo_state import Luo, file_owner
from khodump.subtrees.memfd import Memfd
from khodump.subtrees.text import quoted


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
        yield context.problem(MemfdFolioMissing(memfd.nr_folios, listing.nameless), memfd.phys, message)
