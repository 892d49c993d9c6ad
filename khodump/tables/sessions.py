"""`khodump sessions`: what LUO serialized, or keeps in the kernel's lists: sessions, files, and where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from khodump.abi.luo import NODE_NAME
from khodump.columns.extents import NO_ORDER, Extents
from khodump.errors import UsageError, choice
from khodump.extraction.contents import contents
from khodump.handover import Handover
from khodump.luo_sessions import (
    INCOMING,
    OUTGOING,
    SERIALIZED,
    FoundSession,
    find_sessions,
    received_words,
    why_no_lists,
)
from khodump.names import meant
from khodump.owner import quoted
from khodump.rows import Address, Count, Fact, Head, Kind, Result, Size, Tail, Text, Truth, table
from khodump.subtrees.luo_state import Luo
from khodump.subtrees.memfd import Memfd


@dataclass(frozen=True)
class FileRow:
    """A file, or a session without files.

    Attributes:
        session: its name.
        token, handler, data: as LUO has them of the file.
        size, position, seals: of a file of a kind that is known.
        folios, preserved, orders: how many, their bytes, and how many of which order.
        array: where its list of folios lies.
        first: lowest address of its folios.
        runs: stretches of memory that they are, in file order.
        list: which list it is in.
        retrieved: whether user space of the running kernel has it.
        name: of the open file.
    """

    session: Text
    token: Address | None = None
    handler: Text | None = None
    size: Size | None = None
    position: Count | None = None
    seals: Address | None = None
    folios: Count | None = None
    preserved: Size | None = None
    orders: Text | None = None
    data: Address | None = None
    array: Address | None = None
    first: Address | None = None
    runs: Count | None = None
    list: Text | None = None
    retrieved: Truth | None = None
    name: Text | None = None


@dataclass(frozen=True)
class FlbRow:
    """File-lifecycle-bound state."""

    flb: Text
    data: Address
    count: Count


class _Folios(NamedTuple):
    """The folios of a file.

    Attributes:
        number: how many.
        size: their bytes; None where the map does not tell the orders of all.
        orders: how many of which order, in words.
        first: the lowest physical address.
        runs: stretches of memory, in file order; None as for `size`.
    """

    number: int
    size: int | None
    orders: str
    first: int | None
    runs: int | None


def sessions(handover: Handover, *, session: str | None = None, token: int | None = None) -> Result:
    """A row a file, and one for a session without files.

    Args:
        handover: an open handover.
        session: only the session of this name, or that is shown so.
        token: only files with this token.

    Raises:
        UsageError: there is no such session, or no such file in it.
    """
    found = find_sessions(handover)
    if session is not None:
        session = meant(session, (each.name for each in found))
    chosen = [each for each in found if session in (None, each.name)]
    if found or (handover.luo and handover.luo.is_serialized):
        _demand(found, chosen, session, token)
    rows = [row for each in chosen for row in _rows(handover, each, token)]
    files = sum(row.token is not None for row in rows)
    gone = _is_gone(handover, chosen, has_files=bool(files))
    return Result(
        "khodump.sessions/1",
        lambda: _head(handover, handover.luo, len(found)),
        table("files", FileRow, rows),
        lambda: _tail(handover, chosen, files, gone=gone),
    )


def _is_gone(handover: Handover, chosen: Sequence[FoundSession], *, has_files: bool) -> bool:
    """Whether what is listed is but what is left of LUO's state, which a successor gave back."""
    if any(session.list != SERIALIZED for session in chosen):
        return False
    users = [subtree for subtree in handover.subtrees if subtree.name == NODE_NAME]
    return bool(handover.gone_of(users)) or (has_files and handover.is_map_gone)


def _demand(
    found: Sequence[FoundSession], chosen: Sequence[FoundSession], session: str | None, token: int | None
) -> None:
    """Raise when what was asked for is not there."""
    if session is not None and not chosen:
        names = [each.name for each in found]
        raise UsageError(f"there is no session {quoted(session)}", hint=choice("sessions", names, session))
    tokens = [file.file.token for each in chosen for file in each.files]
    if token is not None and token not in tokens:
        where = "there" if session is None else f"in session {quoted(session)}"
        hint = choice("files", [f"{each:#x}" for each in tokens], f"{token:#x}")
        raise UsageError(f"no file {where} has token {token:#x}", hint=hint)


def _rows(handover: Handover, session: FoundSession, token: int | None) -> Iterator[FileRow]:
    files = [file for file in session.files if token in (None, file.file.token)]
    if not files and token is None:
        yield FileRow(session.name, list=session.list, retrieved=session.is_retrieved)
    for file in files:
        row = FileRow(
            session.name,
            file.file.token,
            file.file.handler or None,
            data=file.file.data,
            list=session.list,
            retrieved=file.is_retrieved,
            name=file.name,
        )
        yield row if file.file.state is None else _with_state(row, handover, file.file.state, file.orders)


def _with_state(row: FileRow, handover: Handover, state: Memfd, orders: Extents) -> FileRow:
    folios = _folios(handover, state, orders)
    return replace(
        row,
        handler=state.version,
        size=state.size,
        position=state.pos,
        seals=state.seals,
        folios=folios.number,
        preserved=folios.size,
        orders=folios.orders,
        array=int(state.array.blocks[0]) if len(state.array.blocks) else None,
        first=folios.first,
        runs=folios.runs,
    )


def _folios(handover: Handover, memfd: Memfd, preserved: Extents) -> _Folios:
    """What a memfd's folios come to; those that are not preserved count as a page."""
    totals = np.zeros(NO_ORDER + 1, np.int64)
    size = runs = 0
    missing = 0
    nameless = 0
    first: int | None = None
    previous = np.zeros(1, np.uint64)
    for batch in memfd.folios():
        missing += batch.missing
        nameless += len(batch.nameless)
        if not len(batch.phys):
            continue
        orders = preserved.orders_at(batch.phys)
        totals += np.bincount(orders, minlength=NO_ORDER + 1)
        length = preserved.block_sizes(orders)
        size += int(length.sum())
        ends = np.concatenate([previous, batch.phys + length])
        runs += int((batch.phys != ends[:-1]).sum())
        lowest, previous = int(batch.phys.min()), ends[-1:]
        first = lowest if first is None else min(first, lowest)
    told = [f"{totals[order]} of order {order}" for order in np.flatnonzero(totals[:NO_ORDER]).tolist()]
    lost = int(totals[NO_ORDER])
    if lost and preserved is not handover.preserved:
        told.append(f"{lost} of unknown order")
        return _Folios(int(totals.sum()), None, ", ".join(told), first, None)
    if lost and not handover.is_whole:
        told.append(f"{lost} not found in what could be read of the map")
        return _Folios(int(totals.sum()), None, ", ".join(told), first, None)
    told += _lacking(lost, missing, nameless)
    return _Folios(int(totals.sum()), size, ", ".join(told), first, runs)


def _lacking(unpreserved: int, missing: int, nameless: int) -> list[str]:
    """What is amiss with the folios of a file, in words."""
    counts = {"not preserved": unpreserved, "not listed": missing, "listed without an address": nameless}
    return [f"{count} {what}" for what, count in counts.items() if count]


def _head(handover: Handover, luo: Luo | None, sessions: int) -> Head:
    facts = [
        Fact("image", handover.memory.description, Kind.TEXT),
        Fact("LUO", luo.version if luo else None, Kind.TEXT),
    ]
    if luo is not None:
        facts += [
            Fact("live update number", luo.number, Kind.COUNT),
            Fact("serialized", luo.is_serialized, Kind.TRUTH),
            Fact("sessions", sessions, Kind.COUNT),
        ]
    if luo is None:
        return Head(tuple(facts))
    flbs = [FlbRow(flb.name, flb.data, flb.count) for flb in luo.flbs]
    return Head(tuple(facts), (table("flbs", FlbRow, flbs),))


def _tail(handover: Handover, chosen: Sequence[FoundSession], files: int, *, gone: bool) -> Tail:
    summary = _summary(handover, chosen, files, gone=gone)
    return Tail(summary, handover.told(handover.all_findings), is_partial=gone)


def _summary(handover: Handover, chosen: Sequence[FoundSession], files: int, *, gone: bool) -> str:
    luo, sessions = handover.luo, len(chosen)
    if gone:
        left = f"{sessions} sessions, {files} files are left of" if luo else "nothing is left of"
        return f"{left} LUO's state: the kernel that took this handover over has given it back"
    if not chosen:
        return _nothing(handover)
    lost = contents(handover, chosen).words
    return "; ".join(
        [f"{sessions} sessions, {files} files", *_bases(handover, chosen), *([lost] if lost else [])]
    )


def _nothing(handover: Handover) -> str:
    """Why there is nothing to list."""
    luo, lack = handover.luo, why_no_lists(handover)
    also = f"; nor can the kernel's lists be read: {lack}" if lack else ""
    if luo is None and handover.live_luo is None:
        return f"this handover has no LUO state that can be read{also}"
    if luo is not None and luo.is_serialized:
        return "0 sessions, 0 files"
    if handover.live_luo is not None:
        return "there are no sessions: nothing is serialized, and the kernel's lists are empty"
    return f"LUO has not serialized: sessions are written down only on the reboot into the next kernel{also}"


def _bases(handover: Handover, chosen: Sequence[FoundSession]) -> Iterator[str]:
    """What the sessions that are listed rest on, where that is more than what was serialized."""
    lists = {session.list for session in chosen}
    received = received_words(handover)
    if INCOMING in lists and received:
        yield received
        failed = sum(session.failed for session in chosen)
        if failed:
            yield f"{failed} files failed to be retrieved"
    if OUTGOING in lists:
        yield "from the kernel's lists, not yet serialized"
