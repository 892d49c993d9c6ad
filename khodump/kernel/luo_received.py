"""Sessions that a kernel received and has not looked at yet: they stand as the last kernel wrote them.

Until /dev/liveupdate is opened for the first time, `luo_session_global.incoming` has an empty list, and what it received
in its block_set (7.2 and later) or behind header_ser (6.19 to 7.1). Then the sessions move into the list, and the memory
that they were written to is given back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from khodump.abi.luo import LUO_FILE_SER, LUO_SESSION_SER
from khodump.columns.arrays import AnyArray
from khodump.findings import Finding
from khodump.kernel.kernel import Kernel
from khodump.kernel.lack import WhyNot
from khodump.kernel.luo_state import FileState, LiveFile, LiveSession, SessionList
from khodump.kernel.objects import Record
from khodump.owner import quoted
from khodump.problems import LiveReceivedMismatch
from khodump.subtree import Context, Visits
from khodump.subtrees.array import read_array
from khodump.subtrees.block import read_blocks
from khodump.subtrees.luo_state import SESSIONS_OWNER, files_array, session_owner, sessions_array
from khodump.subtrees.text import text

_HEAD: Final = "incoming.block_set.head_pa"
_BLOCKS: Final = "incoming.block_set.nblocks"
_ENTRY: Final = "incoming.block_set.entry_size"
_HEADER: Final = "incoming.header_ser"
#: Members that not every kernel has.
RECEIVED_MEMBERS: Final = (_HEAD, _BLOCKS, _ENTRY, _HEADER)

_WHAT: Final = "the sessions that were received"


class Received(NamedTuple):
    """What is there."""

    sessions: tuple[LiveSession, ...] = ()
    findings: tuple[Finding, ...] = ()


class _Rows(NamedTuple):
    """Entries as the last kernel wrote them, and what is wrong with their list."""

    entries: AnyArray
    findings: tuple[Finding, ...]


#: The files of a session: from what to read, its entry, and what they are.
_Files = Callable[[Context, Any, str], _Rows]


def received(kernel: Kernel, record: Record) -> Received:
    """The sessions that `luo_session_global` leads to beside its lists."""
    context = Context(kernel.memory.space.pages.memory, kernel.page_size, SESSIONS_OWNER, Visits())
    if record.has(_HEAD) and record.number(_HEAD):
        return _in_blocks(context, record)
    if record.has(_HEADER) and record.number(_HEADER):
        return _in_arrays(context, kernel.memory.phys(record.number(_HEADER)))
    return Received()


def _in_blocks(context: Context, record: Record) -> Received:
    head = record.number(_HEAD)
    known = int(LUO_SESSION_SER.sizeof())
    size = record.number(_ENTRY) if record.has(_ENTRY) else known
    if size != known:
        message = f"{_WHAT} take {size} bytes each by the kernel's own account, and {known} are known"
        return Received(findings=(_mismatch(context, head, message),))
    blocks = read_blocks(context, head, LUO_SESSION_SER, _WHAT)
    findings = blocks.findings
    counted = record.number(_BLOCKS) if record.has(_BLOCKS) else len(blocks.blocks)
    if counted != len(blocks.blocks) and not findings:
        message = f"{_WHAT} are in {len(blocks.blocks)} blocks, and the kernel counts {counted}"
        findings = (_mismatch(context, head, message),)
    return _sessions(context, _Rows(blocks.entries, findings), _files_in_blocks)


def _files_in_blocks(context: Context, row: Any, what: str) -> _Rows:  # noqa: ANN401 - a numpy record
    blocks = read_blocks(context, int(row["files"]), LUO_FILE_SER, what)
    return _Rows(blocks.entries, blocks.findings)


def _in_arrays(context: Context, head: int | WhyNot) -> Received:
    if isinstance(head, WhyNot):
        return Received(findings=(head.within(_WHAT).finding(LiveReceivedMismatch(), context.owner),))
    found = read_array(context, sessions_array(context.page_size), head)
    return _sessions(context, _Rows(found.entries, found.findings), _files_in_array)


def _files_in_array(context: Context, row: Any, what: str) -> _Rows:  # noqa: ANN401 - a numpy record
    array = files_array(context.page_size, what)
    found = read_array(context, array, int(row["files"]), int(row["count"]))
    return _Rows(found.entries, found.findings)


def _sessions(context: Context, rows: _Rows, files: _Files) -> Received:
    return Received(tuple(_session(context, row, files) for row in rows.entries), rows.findings)


def _session(context: Context, row: Any, files_of: _Files) -> LiveSession:  # noqa: ANN401 - a numpy record
    name, count = text(bytes(row["name"])), int(row["count"])
    owned = context.of(session_owner(name))
    what = f"the files of session {quoted(name)}"
    rows = files_of(owned, row, what)
    files = tuple(_file(entry) for entry in rows.entries)
    findings = rows.findings
    if len(files) != count and not findings:
        message = f"{what} are {len(files)} by their list, and {count} by their counter"
        findings = (_mismatch(owned, int(row["files"]), message),)
    return LiveSession(
        name, SessionList.INCOMING_BLOCKS, retrieved=False, count=count, files=files, findings=findings
    )


def _file(row: Any) -> LiveFile:  # noqa: ANN401 - a numpy record
    handler = text(bytes(row["compatible"]))
    return LiveFile(int(row["token"]), handler, FileState.NOT_RETRIEVED, int(row["data"]))


def _mismatch(context: Context, phys: int, message: str) -> Finding:
    return context.problem(LiveReceivedMismatch(), phys or None, message)
