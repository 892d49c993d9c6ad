"""Sessions that a kernel received and has not looked at yet: they stand as the last kernel wrote them.

Until /dev/liveupdate is opened for the first time, `luo_session_global.incoming` has an empty list, and what it received
in its block_set (7.2 and later). Then the sessions move into the list, and the blocks are given back.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from khodump.abi.luo import LUO_FILE_SER, LUO_SESSION_SER
from khodump.findings import Finding, Severity
from khodump.kernel.kernel import Kernel
from khodump.kernel.luo_state import FileState, LiveFile, LiveSession, SessionList
from khodump.kernel.objects import Record
from khodump.subtree import Context, Visits
from khodump.subtrees.block import read_blocks
from khodump.subtrees.luo_state import SESSIONS_OWNER, session_owner
from khodump.subtrees.text import quoted, text

_HEAD: Final = "incoming.block_set.head_pa"
_BLOCKS: Final = "incoming.block_set.nblocks"
_ENTRY: Final = "incoming.block_set.entry_size"

RULE_BLOCKS: Final = "live-blocks-mismatch"


class InBlocks(NamedTuple):
    """What stands in the blocks."""

    sessions: tuple[LiveSession, ...]
    findings: tuple[Finding, ...]


def sessions_in_blocks(kernel: Kernel, record: Record) -> InBlocks:
    """The sessions in the blocks of `luo_session_global.incoming`; none where it has no blocks."""
    if not record.has(_HEAD) or not record.number(_HEAD):
        return InBlocks((), ())
    expected = int(LUO_SESSION_SER.sizeof())
    size = record.number(_ENTRY) if record.has(_ENTRY) else expected
    if size != expected:
        message = f"the sessions that this kernel received take {size} bytes each in its blocks, and {expected} are known"
        return InBlocks((), (_finding(message, record.number(_HEAD)),))
    context = Context(kernel.memory.space.pages.memory, kernel.page_size, visits=Visits())
    head = record.number(_HEAD)
    blocks = read_blocks(context.of(SESSIONS_OWNER), head, LUO_SESSION_SER, "the sessions that were received")
    sessions = tuple(_session(context, row) for row in blocks.entries)
    findings = [*blocks.findings]
    told = record.number(_BLOCKS) if record.has(_BLOCKS) else len(blocks.blocks)
    if told != len(blocks.blocks) and not findings:
        message = f"the sessions that were received are in {len(blocks.blocks)} blocks, and the kernel counts {told}"
        findings.append(_finding(message, head))
    return InBlocks(sessions, tuple(findings))


def _session(context: Context, row: Any) -> LiveSession:  # noqa: ANN401 - a numpy record
    name, count = text(bytes(row["name"])), int(row["count"])
    what = f"the files of session {quoted(name)}"
    owned = context.of(session_owner(name))
    blocks = read_blocks(owned, int(row["files"]), LUO_FILE_SER, what)
    files = tuple(_file(entry) for entry in blocks.entries)
    findings = [*blocks.findings]
    if len(files) != count and not findings:
        message = f"{what} are {len(files)} by their list, and {count} by their counter"
        findings.append(_finding(message, int(row["files"]), owned.owner))
    return LiveSession(name, SessionList.INCOMING_BLOCKS, False, count, files, None, tuple(findings))


def _file(row: Any) -> LiveFile:  # noqa: ANN401 - a numpy record
    handler = text(bytes(row["compatible"]))
    return LiveFile(int(row["token"]), handler, FileState.NOT_RETRIEVED, int(row["data"]))


def _finding(message: str, phys: int, owner: str | None = SESSIONS_OWNER) -> Finding:
    return Finding(RULE_BLOCKS, Severity.WARNING, phys, message, owner=owner)
