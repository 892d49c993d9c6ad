"""What LUO wrote down, once read: sessions, files, and state that goes with them; and where such lists lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from khodump.abi.layout import offset_of
from khodump.abi.luo import (
    FILE_ARRAY_PAGES,
    LUO_FILE_SER,
    LUO_FLB_HEADER_SER,
    LUO_FLB_SER,
    LUO_SESSION_SER,
    NODE_NAME,
    SESSION_ARRAY_PAGES,
)
from khodump.findings import Entry
from khodump.owner import Owner
from khodump.subtrees.memfd import Memfd


@dataclass(frozen=True)
class LuoFile:
    """A file of a session.

    Attributes:
        token: what user space calls it.
        handler: compatible string of the file handler that knows `data`.
        data: the handler's own, usually a physical address.
        state: what a known handler made of it; None for unknown handlers and unreadable state.
        phys: physical address of its entry in the session's list; None where it is in no such list.
    """

    token: int
    handler: str
    data: int
    state: Memfd | None
    phys: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Session:
    """A session.

    Attributes:
        name: what user space calls it.
        files_phys: physical address of its list of files; 0 is none.
        count: files that it says it has.
        files: those that were found.
        pages: physical (start, size) of the pages that list them.
        phys: physical address of its entry in the list of sessions; None where it is in no such list.
    """

    name: str
    files_phys: int
    count: int
    files: tuple[LuoFile, ...]
    pages: tuple[tuple[int, int], ...]
    phys: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Flb:
    """File-lifecycle-bound state: `data` is its owner's own, not necessarily an address."""

    name: str
    data: int
    count: int


@dataclass(frozen=True)
class Luo:
    """The live update orchestrator's state.

    Attributes:
        version: its compatible string.
        number: live updates so far.
        sessions_phys: physical address of the sessions; 0 before the reboot that serializes them.
        sessions: all of them.
        flbs: all of them.
        pages: owner's last part, and (start, size), of the pages that list sessions and FLBs.
        header_phys: physical address of struct `LuoHeader`; None where the state is an FDT instead.
    """

    version: str
    number: int
    sessions_phys: int
    sessions: tuple[Session, ...]
    flbs: tuple[Flb, ...]
    pages: tuple[tuple[str, int, int], ...]
    header_phys: int | None = field(default=None, compare=False)

    @property
    def is_serialized(self) -> bool:
        """Whether the sessions were written down: only the reboot into the next kernel does."""
        return self.sessions_phys != 0


class LuoArray(NamedTuple):
    """Entries in contiguous pages, as before there were blocks.

    Attributes:
        what: they are, for a person.
        schema: of an entry.
        length: bytes of the pages.
        offset: bytes before the first entry.
    """

    what: str
    schema: Any
    length: int
    offset: int = 0


def sessions_array(page_size: int) -> LuoArray:
    """All sessions, before they were in blocks; their number comes first."""
    return LuoArray("LUO's sessions", LUO_SESSION_SER, SESSION_ARRAY_PAGES * page_size, 8)


def files_array(page_size: int, what: str) -> LuoArray:
    """The files of one session, before they were in blocks; the session has their number."""
    return LuoArray(what, LUO_FILE_SER, FILE_ARRAY_PAGES * page_size)


def flbs_array(page_size: int) -> LuoArray:
    """The page of FLBs, whose header is no block's."""
    return LuoArray("LUO's FLBs", LUO_FLB_SER, page_size, LUO_FLB_HEADER_SER.size)


def entry_of(phys: int | None, schema: Any, name: str, what: str) -> Entry | None:  # noqa: ANN401 - construct
    """A field of the structure at `phys`, if that is known, as what names memory; `what` is it for a person."""
    return None if phys is None else Entry(what, phys + offset_of(schema, name))


#: Who owns the blocks, or the array, of LUO's sessions.
SESSIONS_OWNER: Final = Owner(NODE_NAME, part="sessions")
#: Who owns the list of FLBs.
FLBS_OWNER: Final = Owner(NODE_NAME, part="flbs")


def session_owner(session: str) -> Owner:
    """The session of this name among the owners of memory."""
    return Owner(NODE_NAME, session)


def file_owner(session: str, token: int, handler: str) -> Owner:
    """A file of the session of that name among the owners of memory, with what kind of file it is."""
    kind = handler.partition("-v")[0]
    return Owner(NODE_NAME, session, token, kind=kind)
