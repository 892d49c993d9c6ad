"""LUO's sessions in the lists of a running kernel, with the state of their files decoded as if it were handed over.

A file's handler writes its state when the file is preserved, long before the jump. So the state is complete as soon as the
kernel lists the file, and stays until it is retrieved. The state of a retrieved file was freed, and is not decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from khodump.columns.extents import Extents
from khodump.findings import Finding
from khodump.kernel import Kernel, LiveFile, LiveLuo, LiveSession, SessionList
from khodump.kernel.restorable import restorable
from khodump.owner import quoted
from khodump.problems import LiveSerializedMismatch
from khodump.subtree import Budget, Context, Visits
from khodump.subtrees.luo_doubts import luo_doubts
from khodump.subtrees.luo_state import SESSIONS_OWNER, Luo, LuoFile, Session, file_owner, session_owner
from khodump.subtrees.memfd import COMPATIBLES, decode_memfd

#: In the place of a handler that could not be read.
_NO_HANDLER: Final = ""


@dataclass(frozen=True, eq=False)
class LivingSession:
    """A session of a kernel's lists.

    Attributes:
        live: it, as the kernel has it.
        session: the same in the form that serialized sessions have; files are in the same order.
        findings: what is wrong with it.
    """

    live: LiveSession
    session: Session
    findings: tuple[Finding, ...]

    @property
    def is_received(self) -> bool:
        """Whether the last kernel handed it over."""
        return self.live.list is not SessionList.OUTGOING

    @property
    def files(self) -> Iterator[tuple[LiveFile, LuoFile]]:
        """Each file, as the kernel has it and decoded."""
        return zip(self.live.files, self.session.files, strict=True)


@dataclass(frozen=True, eq=False)
class Living:
    """LUO as it lives in a kernel.

    Attributes:
        kernel: the kernel.
        context: what the state of files is read from.
        sessions: those that were received first.
        list_findings: what is wrong with the lists of sessions.
    """

    kernel: Kernel
    context: Context
    sessions: tuple[LivingSession, ...]
    list_findings: tuple[Finding, ...]

    @cached_property
    def received(self) -> tuple[LivingSession, ...]:
        """What the last kernel handed over, and is not finished."""
        return tuple(session for session in self.sessions if session.is_received)

    @cached_property
    def prepared(self) -> tuple[LivingSession, ...]:
        """What is to be handed over."""
        return tuple(session for session in self.sessions if not session.is_received)

    @property
    def is_opened(self) -> bool:
        """Whether the kernel has begun to take back what it received, so that LUO's own lists of it were given back."""
        return any(session.live.list is SessionList.INCOMING for session in self.sessions)

    @property
    def is_whole(self) -> bool:
        """Whether the lists of sessions and files could all be read."""
        return not self.list_findings and not any(session.live.findings for session in self.sessions)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that is wrong with it; reads the lists of folios."""
        of_sessions = (finding for session in self.sessions for finding in session.findings)
        return (*self.list_findings, *of_sessions, *luo_doubts(self.context, as_luo(self.sessions)))

    def folios_of(self, file: LuoFile) -> Extents:
        """The blocks that a received and not retrieved file's folios are, as far as struct pages still tell their orders."""
        if file.state is None:
            return Extents.empty(self.kernel.page_size.bit_length() - 1)
        return restorable(self.kernel, file.state.folios())


def as_luo(sessions: Iterable[LivingSession]) -> Luo:
    """Sessions in the form of LUO's serialized state, of which nothing is written down."""
    return Luo("", 0, 0, tuple(session.session for session in sessions), (), ())


def open_living(kernel: Kernel, luo: LiveLuo) -> Living:
    """Decode the state of all files that are not retrieved."""
    context = Context(kernel.memory.space.pages.memory, kernel.page_size, None, Visits(), Budget())
    sessions = tuple(_opened(context, session) for session in luo.sessions)
    return Living(kernel, context, sessions, luo.findings)


def _opened(context: Context, live: LiveSession) -> LivingSession:
    findings = list(live.findings)
    files = tuple(_file(context, live.name, file, findings) for file in live.files)
    return LivingSession(live, Session(live.name, 0, live.count, files, ()), tuple(findings))


def _file(context: Context, session: str, live: LiveFile, findings: list[Finding]) -> LuoFile:
    """One file; what is wrong with its state is added to `findings`."""
    handler = live.handler or _NO_HANDLER
    file = LuoFile(live.token, handler, live.serialized_data, None)
    if live.data is None or handler not in COMPATIBLES:
        return file
    owned = context.of(file_owner(session, live.token, handler))
    state = decode_memfd(owned, handler, live.data, f"file {live.token:#x} of session {quoted(session)}")
    if isinstance(state, Finding):
        findings.append(state)
        return file
    findings.extend(state.findings)
    return replace(file, state=state)


def disagreements(written: Luo, living: Sequence[LivingSession]) -> Iterator[Finding]:
    """Where what LUO serialized differs from the kernel's list of the same sessions, which should be the same.

    A session whose list is known to be damaged says nothing of what was serialized.
    """
    told = {session.name: session for session in written.sessions}
    listed = {session.live.name: session for session in living}
    alone = [*(name for name in listed if name not in told), *(name for name in told if name not in listed)]
    if alone:
        message = (
            f"{len(alone)} sessions are either serialized or in the kernel's list, and not both; "
            f"the first is {quoted(alone[0])}"
        )
        problem = LiveSerializedMismatch(len(alone), len(told) + len(listed) - len(alone))
        yield problem.finding(None, message, SESSIONS_OWNER)
    for name, session in listed.items():
        if name in told and not session.live.findings:
            yield from _file_disagreements(told[name], session.session)


def _file_disagreements(written: Session, listed: Session) -> Iterator[Finding]:
    """The same for the files of one session."""
    here = {(file.token, file.handler, file.data) for file in written.files}
    there = {(file.token, file.handler, file.data) for file in listed.files}
    different = sorted({token for token, _, _ in here ^ there})
    if different:
        message = (
            f"{len(different)} files of session {quoted(written.name)} are not serialized as the kernel's list has "
            f"them; the first has token {different[0]:#x}"
        )
        problem = LiveSerializedMismatch(len(different), len(here & there))
        yield problem.finding(None, message, session_owner(written.name))
