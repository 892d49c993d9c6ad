"""LUO's living state: the sessions and files in the kernel's lists (kernel/liveupdate/luo_session.c, luo_file.c).

LUO serializes itself only at the jump into the next kernel, and takes back what it received when /dev/liveupdate is opened
first. Before the one and after the other its lists say what is preserved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from khodump.abi.block import KHO_MAX_BLOCKS, block_capacity
from khodump.abi.layout import dtype_of
from khodump.abi.luo import LUO_FILE_SER
from khodump.findings import Finding
from khodump.kernel.kernel import Kernel
from khodump.kernel.lack import WhyNot
from khodump.kernel.lists import Lists
from khodump.kernel.luo_layouts import FLAG, STATUS, LuoLayouts, luo_layouts
from khodump.kernel.luo_received import received
from khodump.kernel.luo_state import FileState, LiveFile, LiveLuo, LiveSession, SessionList
from khodump.kernel.members import pointee
from khodump.kernel.objects import Record, read_record
from khodump.kernel.open_files import OpenFiles
from khodump.owner import Owner, quoted
from khodump.problems import LiveCountMismatch, LiveListBroken, LiveObjectUnreadable
from khodump.subtrees.luo_state import SESSIONS_OWNER, session_owner
from khodump.subtrees.text import text

_VARIABLE: Final = "luo_session_global"
#: Of a file handler's compatible string, where it is not part of the handler.
_LONGEST_COMPATIBLE: Final = 48


def live_luo(kernel: Kernel) -> LiveLuo | WhyNot:
    """All sessions and files that this kernel keeps; why not where it has no LUO, or does not describe it."""
    place = kernel.symbol(_VARIABLE)
    if isinstance(place, WhyNot):
        return place
    btf = kernel.btf
    if isinstance(btf, WhyNot):
        return btf
    layouts = luo_layouts(btf)
    if isinstance(layouts, WhyNot):
        return layouts
    lists = read_record(kernel.memory, layouts.lists, place)
    if isinstance(lists, WhyNot):
        return lists
    return _Reader(kernel, layouts, OpenFiles.of(kernel.memory, btf)).luo(lists)


class _Reader:
    """Reads the lists of one kernel; collects what is wrong with all of them."""

    def __init__(self, kernel: Kernel, layouts: LuoLayouts, open_files: OpenFiles) -> None:
        self._kernel = kernel
        self._memory = kernel.memory
        self._layouts = layouts
        self._open_files = open_files
        entry = dtype_of(LUO_FILE_SER).itemsize
        # No kernel could hand over more.
        most = KHO_MAX_BLOCKS * block_capacity(kernel.page_size, entry)
        self._lists = Lists(kernel.memory, layouts.list_head.offset("next"), most, set())
        self._findings: list[Finding] = []

    def luo(self, record: Record) -> LiveLuo:
        """Everything that `luo_session_global` leads to."""
        incoming = self._sessions(record, SessionList.INCOMING)
        untouched = received(self._kernel, record)
        self._findings += untouched.findings
        # While user space opens /dev/liveupdate for the first time, a session may stand in both.
        listed = {session.name for session in incoming}
        waiting = [session for session in untouched.sessions if session.name not in listed]
        outgoing = self._sessions(record, SessionList.OUTGOING)
        return LiveLuo((*incoming, *waiting, *outgoing), tuple(self._findings))

    def _sessions(self, record: Record, side: SessionList) -> list[LiveSession]:
        what = f"the kernel's list of {side} sessions"
        ring = self._lists.ring(record.address(f"{side}.list"), what)
        if ring.problem:
            self._findings.append(ring.problem.finding(LiveListBroken(), SESSIONS_OWNER))
        sessions: list[LiveSession] = []
        for node in ring.nodes:
            session = self._session(node, side)
            if isinstance(session, WhyNot):
                self._findings.append(session.within(what).finding(LiveObjectUnreadable(), SESSIONS_OWNER))
            else:
                sessions.append(session)
        count = record.number(f"{side}.count")
        if count != len(ring.nodes) and not ring.problem:
            message = f"{what} has {len(ring.nodes)} entries, and its counter says {count}"
            self._findings.append(_miscounted(message, SESSIONS_OWNER, count, len(ring.nodes)))
        return sessions

    def _session(self, node: int, side: SessionList) -> LiveSession | WhyNot:
        layout = self._layouts.session
        record = read_record(self._memory, layout, node - layout.offset("list"))
        if isinstance(record, WhyNot):
            return record
        name, count = text(record.raw("name")), record.number("file_set.count")
        session = LiveSession(name, side, bool(record.number("retrieved")), count, (), self._phys_of(record))
        return self._with_files(session, record.address("file_set.files_list"))

    def _with_files(self, session: LiveSession, head: int) -> LiveSession:
        """The session with the files behind the list_head at `head`."""
        owner, what = session_owner(session.name), f"the files of session {quoted(session.name)}"
        ring = self._lists.ring(head, what)
        files: list[LiveFile] = []
        findings: list[Finding] = []
        if ring.problem:
            findings.append(ring.problem.finding(LiveListBroken(), owner))
        for node in ring.nodes:
            file = self._file(node, session.list, owner, findings)
            if file is not None:
                files.append(file)
        if session.count != len(ring.nodes) and not ring.problem:
            message = f"{what} are {len(ring.nodes)} by their list, and {session.count} by their counter"
            findings.append(_miscounted(message, owner, session.count, len(ring.nodes)))
        return replace(session, files=tuple(files), findings=tuple(findings))

    def _file(self, node: int, side: SessionList, owner: Owner, findings: list[Finding]) -> LiveFile | None:
        """The file whose list_head is at `node`; what is wrong with it is added to `findings`."""
        layout = self._layouts.file
        record = read_record(self._memory, layout, node - layout.offset("list"))
        if isinstance(record, WhyNot):
            findings.append(record.finding(LiveObjectUnreadable(), owner))
            return None
        handler = self._handler(record.number("fh"))
        if isinstance(handler, WhyNot):
            message = f"the file handler of file {record.number('token'):#x}"
            findings.append(handler.within(message).finding(LiveObjectUnreadable(), owner))
        state, error = _state(record, side)
        opened = self._open_files.at(record.number("file"))
        return LiveFile(
            record.number("token"),
            None if isinstance(handler, WhyNot) else handler,
            state,
            record.number("serialized_data"),
            error,
            opened.name,
            opened.size,
            self._phys_of(record),
        )

    def _handler(self, va: int) -> str | WhyNot:
        """The compatible string of a file handler."""
        record = read_record(self._memory, self._layouts.handler, va)
        if isinstance(record, WhyNot):
            return record
        btf = self._kernel.btf
        member = self._layouts.handler.members["compatible"]
        if isinstance(btf, WhyNot) or pointee(btf, member) is None:
            return text(record.raw("compatible"))
        raw = self._memory.string_at(record.number("compatible"), _LONGEST_COMPATIBLE)
        return raw if isinstance(raw, WhyNot) else text(raw)

    def _phys_of(self, record: Record) -> int | None:
        phys = self._memory.phys(record.va)
        return None if isinstance(phys, WhyNot) else phys


def _state(record: Record, side: SessionList) -> tuple[FileState, int]:
    """How far a file has come, and the errno where retrieving it failed."""
    if side is SessionList.OUTGOING:
        return FileState.PRESERVED, 0
    path = STATUS if record.has(STATUS) else FLAG
    status = record.number(path) if record.has(path) else int(record.number("file") != 0)
    if status < 0:
        return FileState.FAILED, -status
    return (FileState.RETRIEVED if status else FileState.NOT_RETRIEVED), 0


def _miscounted(message: str, owner: Owner, said: int, there: int) -> Finding:
    return LiveCountMismatch(said, there).finding(None, message, owner)
