from __future__ import annotations

import pytest

from khodump.abi.block import KHO_BLOCK_HEADER_SER, KhoBlockHeaderSer
from khodump.abi.luo import FILE_ARRAY_PAGES, LUO_FILE_SER, LUO_SESSION_SER, SESSION_ARRAY_PAGES
from khodump.kernel import FileState, SessionList
from tests.builders.kernel.luo_lists import BuiltFile, BuiltSession, LuoLists
from tests.builders.kernel.structs import replaced
from tests.builders.kernel.types import BOOL, LIST, LONG, Nested, Pointer
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
        ("nblocks", 7, "live-received-mismatch"),
        ("entry_size", 88, "live-received-mismatch"),
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
    assert [finding.rule for finding in session.findings] == ["live-received-mismatch"]


#: struct luo_session_header of 6.19 to 7.1.
ARRAYS = replaced(
    "luo_session_header",
    ("count", LONG),
    ("list", LIST),
    ("rwsem", Nested("mutex")),
    ("header_ser", Pointer()),
    ("ser", Pointer()),
    ("active", BOOL),
)


def array_row(written: LuoLists, session: BuiltSession) -> bytes:
    """A session whose files are in an array."""
    files = 0
    if session.files:
        files = written.kernel.image.alloc_page(FILE_ARRAY_PAGES * PAGE)
        written.kernel.image.write(files, b"".join(file_row(file) for file in session.files))
    name = session.name.encode().ljust(64, b"\0")
    return bytes(LUO_SESSION_SER.build({"name": name, "files": files, "count": len(session.files)}))


def in_arrays(count: int | None = None) -> LuoLists:
    """A kernel of 6.19 to 7.1 that received SESSIONS."""
    written = lists(ARRAYS)
    rows = b"".join(array_row(written, session) for session in SESSIONS)
    head = written.kernel.image.alloc_page(SESSION_ARRAY_PAGES * PAGE)
    number = len(SESSIONS) if count is None else count
    written.kernel.image.write(head, number.to_bytes(8, "little") + rows)
    written.set_top("incoming.header_ser", written.kernel.machine.direct(head))
    return written


def test_kernels_before_7_2_received_arrays():
    luo = read(in_arrays())
    assert shape(luo.received) == written_shape(SESSIONS)
    assert {session.list for session in luo.received} == {SessionList.INCOMING_BLOCKS}
    assert luo.findings == ()


def test_an_array_that_counts_more_than_it_holds_is_a_finding():
    luo = read(in_arrays(count=1 << 40))
    assert shape(luo.received[: len(SESSIONS)]) == written_shape(SESSIONS)
    assert [finding.rule for finding in luo.findings] == ["block-count-invalid"]


def test_an_array_that_is_nowhere_is_a_finding():
    written = in_arrays()
    written.set_top("incoming.header_ser", 0xFFFF_8880_0000_0000)
    luo = read(written)
    assert luo.received == ()
    assert [finding.rule for finding in luo.findings] == ["live-received-mismatch"]


def test_an_array_that_many_name_is_read_for_two():
    """As all lists are: what is read is bounded by what the image holds, however often it is named."""
    written = lists(ARRAYS)
    row = array_row(written, SESSIONS[0])
    head = written.kernel.image.alloc_page(SESSION_ARRAY_PAGES * PAGE)
    written.kernel.image.write(head, (5).to_bytes(8, "little") + 5 * row)
    written.set_top("incoming.header_ser", written.kernel.machine.direct(head))
    luo = read(written)
    files = len(SESSIONS[0].files)
    assert [len(session.files) for session in luo.received] == [files, files, 0, 0, 0]
    refused = [[finding.rule for finding in session.findings] for session in luo.received]
    assert refused == [[], [], *[["list-page-shared"]] * 3]
