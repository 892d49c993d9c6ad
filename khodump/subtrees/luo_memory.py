"""The memory that LUO's lists and files take: whose it is, and which bytes of it say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from khodump.abi.layout import dtype_of
from khodump.abi.luo import LUO_FILE_SER, LUO_HEADER, LUO_SESSION_SER, NODE_NAME, luo_version
from khodump.findings import Entry
from khodump.memory import Hole
from khodump.owner import Owner
from khodump.subtree import Claims, Context, Keep
from khodump.subtrees.block import block_keeps
from khodump.subtrees.luo_state import (
    FLBS_OWNER,
    SESSIONS_OWNER,
    Luo,
    LuoArray,
    Session,
    entry_of,
    file_owner,
    files_array,
    flbs_array,
    session_owner,
    sessions_array,
)

#: The part of a session that lists its files.
_FILES: Final = "files"


def luo_claims(luo: Luo) -> Iterator[Claims]:
    """All lists, and what memfds hold."""
    heads = {
        part: entry_of(luo.header_phys, LUO_HEADER.schema, f"{part}_pa", f"{part}_pa of LUO's state")
        for part in ("sessions", "flbs")
    }
    for part, start, size in luo.pages:
        yield Claims.of(Owner(NODE_NAME, part=part), (start, size), entry=heads[part])
        heads[part] = _entry_of_block(start)
    for session in luo.sessions:
        yield from _session_claims(session)
        for file in session.files:
            if file.state is not None:
                entry = entry_of(file.phys, LUO_FILE_SER, "data", "data of the file's entry")
                yield from file.state.claims(file_owner(session.name, file.token, file.handler), entry)


def _session_claims(session: Session) -> Iterator[Claims]:
    """The pages of its list of files."""
    entry = entry_of(session.phys, LUO_SESSION_SER, "files", "files of the session's entry")
    for start, size in session.pages:
        yield Claims.of(session_owner(session.name).with_part(_FILES), (start, size), entry=entry)
        entry = _entry_of_block(start)


def _entry_of_block(previous: int) -> Entry:
    """What names a block of a list that comes after another."""
    return Entry("the next block in a block of the list", previous)


def luo_keeps(context: Context, luo: Luo) -> Iterator[Keep]:
    """All lists, and what memfds say of themselves."""
    sessions = [(start, size) for part, start, size in luo.pages if part == "sessions"]
    if luo_version(luo.version).sessions_in_blocks:
        blocks = [start for start, _ in sessions]
        yield from block_keeps(context, blocks, LUO_SESSION_SER, SESSIONS_OWNER, "list of LUO's sessions")
    else:
        yield from _array_keeps(context, SESSIONS_OWNER, sessions_array(context.page_size), sessions)
    flbs = [(start, size) for part, start, size in luo.pages if part == "flbs"]
    yield from _array_keeps(context, FLBS_OWNER, flbs_array(context.page_size), flbs)
    for session in luo.sessions:
        yield from _session_keeps(context, luo, session)


def _session_keeps(context: Context, luo: Luo, session: Session) -> Iterator[Keep]:
    owner = session_owner(session.name).with_part(_FILES)
    if luo_version(luo.version).files_in_blocks:
        blocks = [start for start, _ in session.pages]
        yield from block_keeps(context, blocks, LUO_FILE_SER, owner, "list of files")
    else:
        array = files_array(context.page_size, "files")
        yield from _array_keeps(context, owner, array, session.pages, session.count)
    for file in session.files:
        if file.state is not None:
            yield from file.state.keeps(file_owner(session.name, file.token, file.handler))


def _array_keeps(
    context: Context,
    owner: Owner,
    array: LuoArray,
    spans: Iterable[tuple[int, int]],
    count: int | None = None,
) -> Iterator[Keep]:
    """Of the array in these pages (one span or none): what counts its entries, as many, and that its pages are read."""
    entry = dtype_of(array.schema)
    capacity = (array.length - array.offset) // entry.itemsize
    for head, size in spans:
        data = context.memory.read(head, size)
        if isinstance(data, Hole):
            continue
        said = int.from_bytes(data[array.offset - 8 : array.offset], "little") if count is None else count
        pages = ((head + at, 0) for at in range(0, size, context.page_size))
        yield Keep.of(owner, f"list of {array.what}", (head, array.offset), *pages)
        rows = np.frombuffer(data, entry, min(said, capacity), array.offset)
        start = np.uint64(head + array.offset) + np.arange(len(rows), dtype=np.uint64) * np.uint64(
            entry.itemsize
        )
        # An array that counts more than it holds is none, or none any more.
        yield Keep.of_rows(owner, f"list of {array.what}", start, rows, doubtful=said > capacity)
