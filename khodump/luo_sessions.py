"""LUO's sessions of an image from all that tells of them: what was serialized, and what the kernel's own lists have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, NamedTuple

from khodump.columns.extents import Extents
from khodump.handover import Handover
from khodump.kernel import FileState, LiveFile, WhyNot
from khodump.kernel.living import LivingSession
from khodump.kernel.luo_state import SessionList
from khodump.opening.running import Role
from khodump.subtrees.luo_state import LuoFile

#: In the column `list`: the handover's own state says so, not the kernel's lists.
SERIALIZED: Final = "serialized"
INCOMING: Final = "incoming"
OUTGOING: Final = "outgoing"


@dataclass(frozen=True, eq=False)
class FoundFile:
    """A file of a session.

    Attributes:
        file: it, with its state as far as that may be decoded.
        live: the same in the kernel's lists; None where it was serialized.
        blocks: gives `orders`, which may take long to find out.
        name: of the open file, as the kernel has it.
    """

    file: LuoFile
    live: LiveFile | None
    blocks: Callable[[], Extents]
    name: str | None = None

    @cached_property
    def orders(self) -> Extents:
        """The blocks that its folios are, by the map or the kernel's struct pages."""
        return self.blocks()

    @property
    def is_retrieved(self) -> bool | None:
        """Whether user space of the running kernel has it; None where that is not known."""
        return None if self.live is None else self.live.state is FileState.RETRIEVED


class FoundSession(NamedTuple):
    """A session.

    Attributes:
        name: what user space calls it.
        list: which list it is in, as in the column of that name.
        files: its files.
        phys: physical address of the kernel's entry for it, or of its list of files.
        is_retrieved: whether user space of the running kernel has it; None where that is not known.
    """

    name: str
    list: str
    files: tuple[FoundFile, ...]
    phys: int | None
    is_retrieved: bool | None = None

    @property
    def failed(self) -> int:
        """Files of it that user space asked for, and did not get."""
        return sum(file.live is not None and file.live.state is FileState.FAILED for file in self.files)


def find_sessions(handover: Handover) -> tuple[FoundSession, ...]:
    """All sessions: those that were received first, then those that are, or are to be, handed over.

    A session that is both serialized and in the kernel's list of the same handover is told once.
    """
    living = handover.live_luo
    received = [_living(handover, session) for session in living.received] if living else []
    prepared = [_living(handover, session) for session in living.prepared] if living else []
    written = [*_serialized(handover)]
    if not written:
        return (*received, *prepared)
    if handover.role is Role.INCOMING:
        # The kernel's own lists say of these sessions what has become of them since they were written.
        return (*(received or written), *prepared)
    return (*received, *written)


def _serialized(handover: Handover) -> Iterator[FoundSession]:
    names = _names(handover)
    for session in handover.luo.sessions if handover.luo else ():
        files = tuple(
            FoundFile(file, None, lambda: handover.preserved, names.get((session.name, file.token)))
            for file in session.files
        )
        yield FoundSession(session.name, SERIALIZED, files, session.files_phys or None)


def _names(handover: Handover) -> dict[tuple[str, int], str]:
    """The names of open files, by session and token."""
    named = (
        ((session.live.name, file.token), file.name)
        for session in handover.own_live_sessions
        for file in session.live.files
    )
    return {key: name for key, name in named if name}


def _living(handover: Handover, session: LivingSession) -> FoundSession:
    where = OUTGOING if session.live.list is SessionList.OUTGOING else INCOMING
    files = tuple(
        FoundFile(file, live, partial(_orders, handover, session, file), live.name or None)
        for live, file in session.files
    )
    return FoundSession(session.live.name, where, files, session.live.phys, session.live.retrieved)


def _orders(handover: Handover, session: LivingSession, file: LuoFile) -> Extents:
    """The map tells the orders of what is to be handed over; of what was received, only the kernel's struct pages do."""
    living = handover.live_luo
    return living.folios_of(file) if living and session.is_received else handover.preserved


def received_words(handover: Handover) -> str | None:
    """How much of what the kernel received was retrieved; None where it received nothing, or that is not known."""
    living = handover.live_luo
    if living is None or not living.received:
        return None
    taken = sum(session.live.retrieved for session in living.received)
    return f"received, {taken} of {len(living.received)} retrieved"


def why_no_lists(handover: Handover) -> str | None:
    """Why the kernel's lists could not be read, of an image that leads to a kernel with KHO; else None."""
    running = handover.running
    if running is None or isinstance(running.kernel, WhyNot) or not isinstance(running.living, WhyNot):
        return None
    return running.living.message


def choose_session(handover: Handover, found: Sequence[FoundSession], name: str) -> FoundSession | None:
    """The session of this name; of several lists, that which belongs to the handover at hand comes first."""
    named = [session for session in found if session.name == name]
    own = (INCOMING,) if handover.role is Role.INCOMING else (SERIALIZED, OUTGOING)
    named.sort(key=lambda session: session.list not in own)
    return named[0] if named else None
