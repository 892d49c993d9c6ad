"""`khodump sessions`: what LUO serialized: sessions, files, and where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from khodump.abi.luo import NODE_NAME
from khodump.errors import UsageError, choice
from khodump.extents import NO_ORDER
from khodump.handover import Handover
from khodump.names import meant
from khodump.rows import Block, Cell, Column, Fact, Head, Kind, Result, Rows, Tail
from khodump.subtrees.luo_state import Luo, LuoFile, Session
from khodump.subtrees.memfd import Memfd
from khodump.subtrees.text import quoted

_COLUMNS = (
    Column("session", Kind.TEXT),
    Column("token", Kind.ADDRESS),
    Column("handler", Kind.TEXT),
    Column("size", Kind.SIZE),
    Column("position", Kind.COUNT),
    Column("seals", Kind.ADDRESS),
    Column("folios", Kind.COUNT),
    Column("preserved", Kind.SIZE),
    Column("orders", Kind.TEXT),
    Column("data", Kind.ADDRESS),
    Column("array", Kind.ADDRESS),
    Column("first", Kind.ADDRESS),
    Column("runs", Kind.COUNT),
)
_FLB_COLUMNS = (Column("flb", Kind.TEXT), Column("data", Kind.ADDRESS), Column("count", Kind.COUNT))
_NO_FILE: tuple[Cell, ...] = (None,) * (len(_COLUMNS) - 1)


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


def find_luo(handover: Handover) -> Luo | None:
    """LUO's state; None when the handover has none, or it could not be decoded."""
    contents = (subtree.decoded.content for subtree in handover.subtrees if subtree.name == NODE_NAME)
    return next((content for content in contents if isinstance(content, Luo)), None)


def sessions(handover: Handover, *, session: str | None = None, token: int | None = None) -> Result:
    """A row a file, and one for a session without files.

    Args:
        handover: an open handover.
        session: only the session of this name, or that is shown so.
        token: only files with this token.

    Raises:
        UsageError: there is no such session, or no such file in it.
    """
    luo = find_luo(handover)
    if luo and session is not None:
        session = meant(session, (found.name for found in luo.sessions))
    chosen = [found for found in luo.sessions if session in (None, found.name)] if luo else []
    if luo and luo.is_serialized:
        _demand(luo, chosen, session, token)
    rows = [row for found in chosen for row in _rows(handover, found, token)]
    has_files = any(row[1] is not None for row in rows)
    block: Block = list(zip(*rows, strict=True)) if rows else [[] for _ in _COLUMNS]
    users = [subtree for subtree in handover.subtrees if subtree.name == NODE_NAME]
    gone = bool(handover.gone_of(users)) or (has_files and handover.is_map_gone)
    return Result(
        "khodump.sessions/1",
        lambda: _head(handover, luo),
        Rows("files", _COLUMNS, [block]),
        lambda: _tail(handover, luo, len(chosen), sum(row[1] is not None for row in rows), gone=gone),
    )


def _demand(luo: Luo, chosen: list[Session], session: str | None, token: int | None) -> None:
    """Raise when what was asked for is not there."""
    if session is not None and not chosen:
        names = [found.name for found in luo.sessions]
        raise UsageError(f"there is no session {quoted(session)}", hint=choice("sessions", names, session))
    tokens = [file.token for found in chosen for file in found.files]
    if token is not None and token not in tokens:
        where = "there" if session is None else f"in session {quoted(session)}"
        hint = choice("files", [f"{each:#x}" for each in tokens], f"{token:#x}")
        raise UsageError(f"no file {where} has token {token:#x}", hint=hint)


def _rows(handover: Handover, session: Session, token: int | None) -> Iterator[tuple[Cell, ...]]:
    files = [file for file in session.files if token in (None, file.token)]
    if not files and token is None:
        yield session.name, *_NO_FILE
    for file in files:
        yield session.name, *_file(handover, file)


def _file(handover: Handover, file: LuoFile) -> tuple[Cell, ...]:
    state = file.state
    if state is None:
        return file.token, file.handler, *(None,) * 6, file.data, None, None, None
    folios = _folios(handover, state)
    array = int(state.array.blocks[0]) if len(state.array.blocks) else None
    return (
        file.token,
        state.version,
        state.size,
        state.pos,
        state.seals,
        folios.number,
        folios.size,
        folios.orders,
        file.data,
        array,
        folios.first,
        folios.runs,
    )


def _folios(handover: Handover, memfd: Memfd) -> _Folios:
    """What a memfd's folios come to; those that are not preserved count as a page."""
    totals = np.zeros(NO_ORDER + 1, np.int64)
    size = runs = 0
    missing = 0
    nameless = 0
    first: int | None = None
    previous = np.zeros(1, np.uint64)
    for batch in memfd.folios():
        missing += batch.missing
        nameless += batch.nameless
        if not len(batch.phys):
            continue
        orders = handover.preserved.orders_at(batch.phys)
        totals += np.bincount(orders, minlength=NO_ORDER + 1)
        length = np.uint64(handover.page_size) << np.where(orders == NO_ORDER, 0, orders).astype(np.uint64)
        size += int(length.sum())
        ends = np.concatenate([previous, batch.phys + length])
        runs += int((batch.phys != ends[:-1]).sum())
        lowest, previous = int(batch.phys.min()), ends[-1:]
        first = lowest if first is None else min(first, lowest)
    told = [f"{totals[order]} of order {order}" for order in np.flatnonzero(totals[:NO_ORDER]).tolist()]
    lost = int(totals[NO_ORDER])
    if lost and not handover.is_whole:
        told.append(f"{lost} not found in what could be read of the map")
        return _Folios(int(totals.sum()), None, ", ".join(told), first, None)
    told += _lacking(lost, missing, nameless)
    return _Folios(int(totals.sum()), size, ", ".join(told), first, runs)


def _lacking(unpreserved: int, missing: int, nameless: int) -> list[str]:
    """What is amiss with the folios of a file, in words."""
    counts = {"not preserved": unpreserved, "not listed": missing, "listed without an address": nameless}
    return [f"{count} {what}" for what, count in counts.items() if count]


def _head(handover: Handover, luo: Luo | None) -> Head:
    facts = [
        Fact("image", handover.memory.description, Kind.TEXT),
        Fact("LUO", luo.version if luo else None, Kind.TEXT),
    ]
    if luo is None:
        return Head(tuple(facts))
    facts += [
        Fact("live update number", luo.number, Kind.COUNT),
        Fact("serialized", luo.is_serialized, Kind.TRUTH),
        Fact("sessions", len(luo.sessions), Kind.COUNT),
    ]
    flbs: Block = [
        [flb.name for flb in luo.flbs],
        [flb.data for flb in luo.flbs],
        [flb.count for flb in luo.flbs],
    ]
    return Head(tuple(facts), (Rows("flbs", _FLB_COLUMNS, [flbs]),) if luo.flbs else ())


def _tail(handover: Handover, luo: Luo | None, sessions: int, files: int, *, gone: bool) -> Tail:
    summary = _summary(luo, sessions, files, gone=gone)
    return Tail(summary, handover.told(handover.all_findings), is_partial=gone)


def _summary(luo: Luo | None, sessions: int, files: int, *, gone: bool) -> str:
    if gone:
        left = f"{sessions} sessions, {files} files are left of" if luo else "nothing is left of"
        return f"{left} LUO's state: the kernel that took this handover over has given it back"
    if luo is None:
        return "this handover has no LUO state that can be read"
    if not luo.is_serialized:
        return "LUO has not serialized: sessions are written down only on the reboot into the next kernel"
    return f"{sessions} sessions, {files} files"
