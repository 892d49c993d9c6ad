"""What the kernel's own lists say of LUO, once read: sessions and files that are not, or no longer, serialized."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from khodump.findings import Finding


class SessionList(StrEnum):
    """Where the kernel keeps a session."""

    #: In the list of those that user space of this kernel made, for the next kernel.
    OUTGOING = "outgoing"
    #: In the list of those that this kernel received.
    INCOMING = "incoming"
    #: Received, and still as the last kernel wrote it: nobody has opened /dev/liveupdate yet.
    INCOMING_BLOCKS = "incoming-blocks"


class FileState(StrEnum):
    """How far a file has come."""

    PRESERVED = "preserved"
    NOT_RETRIEVED = "not retrieved"
    RETRIEVED = "retrieved"
    #: Retrieving it was tried, and ended in an error; it is not tried again.
    FAILED = "failed"


@dataclass(frozen=True)
class LiveFile:
    """A file of a session.

    Attributes:
        token: what user space calls it.
        handler: compatible string of its file handler; None where that could not be read.
        state: how far it has come.
        serialized_data: what its handler serialized, usually a physical address. Once a file was retrieved, or was
            tried to be, that memory is free: see `data`.
        error: the errno, above 0, of a file whose state is FAILED; else 0.
        name: of the open file, as `memfd:...`; None where there is no open file, or its name could not be read.
        size: bytes of the open file, likewise.
        phys: physical address of the kernel's entry for it.
    """

    token: int
    handler: str | None
    state: FileState
    serialized_data: int
    error: int = 0
    name: str | None = None
    size: int | None = None
    phys: int | None = None

    @property
    def data(self) -> int | None:
        """`serialized_data` where the handler's memory is still its own; None where it must not be decoded."""
        is_kept = self.state in (FileState.PRESERVED, FileState.NOT_RETRIEVED)
        return self.serialized_data if is_kept and self.serialized_data else None


@dataclass(frozen=True)
class LiveSession:
    """A session.

    Attributes:
        name: what user space calls it.
        list: where the kernel keeps it.
        retrieved: whether user space of this kernel has taken it; each of its files is retrieved by itself.
        count: files that it says it has.
        files: those that were found.
        phys: physical address of the kernel's entry for it.
        findings: what is wrong with it.
    """

    name: str
    list: SessionList
    retrieved: bool
    count: int
    files: tuple[LiveFile, ...]
    phys: int | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class LiveLuo:
    """LUO as it lives in a kernel.

    Attributes:
        sessions: those that are received first, then those that are to be handed over; each in the kernel's order.
        findings: what is wrong with the lists, besides what is wrong with single sessions.
    """

    sessions: tuple[LiveSession, ...]
    findings: tuple[Finding, ...] = ()

    def of(self, *lists: SessionList) -> tuple[LiveSession, ...]:
        """The sessions in these lists."""
        return tuple(session for session in self.sessions if session.list in lists)

    @property
    def received(self) -> tuple[LiveSession, ...]:
        """What the last kernel handed over, and is not finished."""
        return self.of(SessionList.INCOMING, SessionList.INCOMING_BLOCKS)

    @property
    def prepared(self) -> tuple[LiveSession, ...]:
        """What is to be handed over."""
        return self.of(SessionList.OUTGOING)
