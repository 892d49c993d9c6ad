from __future__ import annotations

import pytest

from khodump.abi.block import KHO_BLOCK_HEADER_SER, KhoBlockHeaderSer
from khodump.abi.luo import LUO_FILE_SER, LUO_SESSION_SER
from khodump.kernel import FileState, SessionList
from tests.builders.kernel.luo_lists import BuiltFile, BuiltSession, LuoLists
from tests.kernel.test_luo import SESSIONS, lists, read, shape, written_shape

PAGE = 4096


def block(written: LuoLists, rows: list[bytes], following: int = 0) -> int:
    """A block of these entries; its physical address."""
    phys = written.kernel.image.alloc_page(PAGE)
    header = KHO_BLOCK_HEADER_SER.build(KhoBlockHeaderSer(following, len(rows)))
    written.kernel.image.write(phys, header + b"".join(rows))
    return phys


def file_row(file: BuiltFile) -> bytes:
    compatible = file.handler.encode().ljust(48, b"\0")
    return bytes(LUO_FILE_SER.build({"compatible": compatible, "data": file.data, "token": file.token}))


def session_row(written: LuoLists, session: BuiltSession) -> bytes:
    files = block(written, [file_row(file) for file in session.files]) if session.files else 0
    name = session.name.encode().ljust(64, b"\0")
    return bytes(LUO_SESSION_SER.build({"name": name, "files": files, "count": len(session.files)}))


def received(written: LuoLists, sessions: tuple[BuiltSession, ...]) -> int:
    """What the last kernel wrote, in two blocks; the physical address of the first."""
    rows = [session_row(written, session) for session in sessions]
    head = block(written, rows[:1], block(written, rows[1:]))
    written.set_top("incoming.active", 1)
    written.set_top("incoming.block_set.head_pa", head)
    written.set_top("incoming.block_set.nblocks", 2)
    written.set_top("incoming.block_set.entry_size", LUO_SESSION_SER.sizeof())
    return head


def test_sessions_that_nobody_has_asked_for_are_in_blocks():
    written = lists()
    received(written, SESSIONS)
    luo = read(written)
    assert shape(luo.received) == written_shape(SESSIONS)
    assert {session.list for session in luo.received} == {SessionList.INCOMING_BLOCKS}
    assert {file.state for session in luo.received for file in session.files} == {FileState.NOT_RETRIEVED}
    assert luo.findings == ()


def test_a_session_in_list_and_blocks_is_told_once():
    written = lists().write(incoming=SESSIONS[:1])
    received(written, SESSIONS)
    luo = read(written)
    assert [(session.name, session.list) for session in luo.received] == [
        (SESSIONS[0].name, SessionList.INCOMING),
        (SESSIONS[1].name, SessionList.INCOMING_BLOCKS),
        (SESSIONS[2].name, SessionList.INCOMING_BLOCKS),
    ]


def test_blocks_beside_new_outgoing_sessions():
    written = lists().write(outgoing=SESSIONS[:1])
    received(written, SESSIONS[1:])
    luo = read(written)
    assert shape(luo.received) == written_shape(SESSIONS[1:])
    assert shape(luo.prepared) == written_shape(SESSIONS[:1])


@pytest.mark.parametrize(
    ("member", "value", "rule"),
    [
        ("nblocks", 7, "live-blocks-mismatch"),
        ("entry_size", 88, "live-blocks-mismatch"),
        ("head_pa", 0x4040_0008, "chain-pointer-unaligned"),
        ("head_pa", 0x7_0000_0000, "blob-unreadable"),
    ],
)
def test_blocks_that_make_no_sense_are_findings(member, value, rule):
    written = lists()
    received(written, SESSIONS)
    written.set_top(f"incoming.block_set.{member}", value)
    luo = read(written)
    assert [finding.rule for finding in luo.findings] == [rule]


def test_blocks_that_lead_to_themselves_end():
    written = lists()
    head = received(written, SESSIONS)
    written.kernel.image.write(head, head.to_bytes(8, "little"))
    luo = read(written)
    assert [session.name for session in luo.received] == ["vm-alpha"]
    assert [finding.rule for finding in luo.findings] == ["chain-cycle"]


def test_a_session_that_counts_other_files_is_a_finding():
    written = lists()
    row = bytearray(session_row(written, SESSIONS[0]))
    row[-8:] = (9).to_bytes(8, "little")
    written.set_top("incoming.block_set.head_pa", block(written, [bytes(row)]))
    written.set_top("incoming.block_set.nblocks", 1)
    written.set_top("incoming.block_set.entry_size", LUO_SESSION_SER.sizeof())
    (session,) = read(written).received
    assert [finding.rule for finding in session.findings] == ["live-blocks-mismatch"]
