from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.findings import Severity
from khodump.kernel import (
    FileState,
    Kernel,
    LiveLuo,
    LiveSession,
    Reason,
    SessionList,
    WhyNot,
    live_luo,
    open_kernel,
)
from tests.builders.kernel.kernel import BuiltKernel, arm64, handing_over, x86
from tests.builders.kernel.luo_lists import BuiltFile, BuiltSession, LuoLists
from tests.builders.kernel.machine import Machine
from tests.builders.kernel.structs import STRUCTS, reordered, replaced, without
from tests.builders.kernel.types import BOOL, LIST, Pointer, Structs

SESSIONS = (
    BuiltSession(
        "vm-alpha", (BuiltFile(1, 0x1000), BuiltFile((1 << 64) - 1, 0x2000, opened=("memfd:disk", 8192)))
    ),
    BuiltSession('a "quoted" \\ näme', (BuiltFile(0, 0x3000, handler="test-v1"),)),
    BuiltSession("empty"),
)


def lists(structs: Structs = STRUCTS, machine: Callable[[], Machine] = x86) -> LuoLists:
    built, _ = handing_over(machine(), structs=structs)
    return LuoLists(built)


def answer(built: BuiltKernel) -> LiveLuo | WhyNot:
    with built.opened() as memory:
        kernel = open_kernel(memory)
        assert isinstance(kernel, Kernel), kernel
        return live_luo(kernel)


def read(written: LuoLists) -> LiveLuo:
    luo = answer(written.kernel)
    assert isinstance(luo, LiveLuo), luo
    return luo


def shape(sessions: tuple[LiveSession, ...]) -> list[tuple[str, list[tuple[int, str | None, int]]]]:
    return [(s.name, [(f.token, f.handler, f.serialized_data) for f in s.files]) for s in sessions]


def written_shape(sessions: tuple[BuiltSession, ...]) -> list[tuple[str, list[tuple[int, str | None, int]]]]:
    return [(s.name, [(f.token, f.handler, f.data) for f in s.files]) for s in sessions]


@pytest.mark.parametrize("structs", [STRUCTS, reordered()], ids=["as in 7.3", "the other way round"])
@pytest.mark.parametrize(
    "machine", [x86, arm64, lambda: arm64(65536, va_bits=52)], ids=["x86", "arm64", "arm64, 64K"]
)
def test_what_is_to_be_handed_over_is_listed(structs, machine):
    luo = read(lists(structs, machine).write(outgoing=SESSIONS))
    assert shape(luo.prepared) == written_shape(SESSIONS)
    assert luo.received == ()
    assert luo.findings == ()
    assert not any(session.findings for session in luo.sessions)
    states = {file.state for session in luo.sessions for file in session.files}
    assert states == {FileState.PRESERVED}


def test_an_open_file_has_a_name_and_a_size():
    luo = read(lists().write(outgoing=SESSIONS))
    closed, opened = luo.sessions[0].files
    assert (closed.name, closed.size) == (None, None)
    assert (opened.name, opened.size) == ("memfd:disk", 8192)


def test_a_file_has_no_name_where_the_kernel_does_not_describe_names():
    written = lists().write(outgoing=SESSIONS)
    written.kernel.types.structs = without("dentry")
    luo = read(written)
    assert luo.sessions[0].files[1].name is None
    assert shape(luo.prepared) == written_shape(SESSIONS)


def test_each_received_file_is_retrieved_by_itself():
    files = (BuiltFile(1, 0x1000, status=1), BuiltFile(2, 0x2000), BuiltFile(3, 0x3000, status=-22))
    luo = read(lists().write(incoming=[BuiltSession("vm", files, retrieved=True)]))
    (session,) = luo.received
    assert session.list is SessionList.INCOMING
    assert session.retrieved
    states = [(file.state, file.error, file.data) for file in session.files]
    assert states == [
        (FileState.RETRIEVED, 0, None),
        (FileState.NOT_RETRIEVED, 0, 0x2000),
        (FileState.FAILED, 22, None),
    ]
    assert [file.serialized_data for file in session.files] == [0x1000, 0x2000, 0x3000]


def test_kernels_before_7_2_have_a_flag_instead_of_an_errno():
    members = tuple(
        ("retrieved", BOOL) if name == "retrieve_status" else (name, kind)
        for name, kind in STRUCTS["luo_file"]
    )
    written = lists(replaced("luo_file", *members))
    file = BuiltFile(1, 0x1000)
    written.write(incoming=[BuiltSession("vm", (file,))])
    offset = written.kernel.types.offset("luo_file", "retrieved")
    entry = written.nodes["vm", 1] - written.kernel.types.offset("luo_file", "list")
    written.kernel.poke(entry + offset, b"\1")
    (session,) = read(written).received
    assert session.files[0].state is FileState.RETRIEVED


def test_a_successor_may_hand_over_while_it_still_receives():
    luo = read(lists().write(incoming=SESSIONS[:1], outgoing=SESSIONS[1:]))
    assert shape(luo.received) == written_shape(SESSIONS[:1])
    assert shape(luo.prepared) == written_shape(SESSIONS[1:])


def test_a_session_that_was_finished_is_not_listed():
    """It is freed, but its name is still where it was."""
    written = lists()
    written.kernel.object(written.kernel.types.pack("luo_session", {"name": b"ghost"}))
    luo = read(written.write(incoming=SESSIONS[:1]))
    assert [session.name for session in luo.sessions] == ["vm-alpha"]


@pytest.mark.parametrize("struct", ["luo_session", "luo_file", "luo_session_global", "list_head"])
def test_a_type_that_is_missing_is_said(struct):
    written = lists().write(outgoing=SESSIONS)
    written.kernel.types.structs = without(struct)
    lack = answer(written.kernel)
    assert isinstance(lack, WhyNot)
    assert lack.reason in (Reason.NO_TYPE, Reason.NO_MEMBER)


def test_a_kernel_without_luo_has_no_such_variable():
    built, _ = handing_over(x86())
    lack = answer(built)
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.NO_SYMBOL


def test_a_kernel_without_btf_does_not_tell():
    built, _ = handing_over(x86(), has_btf=False)
    LuoLists(built).write(outgoing=SESSIONS)
    lack = answer(built)
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.NO_BTF


def loop(written: LuoLists, node: int, target: int) -> None:
    """Let the list_head at `node` lead to `target`."""
    offset = written.kernel.types.offset("list_head", "next")
    written.kernel.poke(node + offset, target.to_bytes(8, "little"))


def test_a_list_of_sessions_that_loops_ends():
    written = lists().write(outgoing=SESSIONS)
    loop(written, written.nodes["empty"], written.nodes["vm-alpha"])
    luo = read(written)
    assert [session.name for session in luo.prepared] == [session.name for session in SESSIONS]
    (finding,) = luo.findings
    assert finding.rule == "live-list-broken"
    assert finding.severity is Severity.ERROR
    assert "met before" in finding.message


def test_files_that_loop_are_told_of_their_session():
    written = lists().write(outgoing=SESSIONS)
    loop(written, written.nodes["vm-alpha", (1 << 64) - 1], written.nodes["vm-alpha", 1])
    luo = read(written)
    assert shape(luo.prepared) == written_shape(SESSIONS)
    (finding,) = luo.prepared[0].findings
    assert str(finding.owner) == 'LUO/session "vm-alpha"'


def test_two_sessions_do_not_share_files():
    """Else thousands of sessions with one long list would take the product of both."""
    written = lists().write(outgoing=SESSIONS)
    types = written.kernel.types
    session = written.nodes["empty"] - types.offset("luo_session", "list")
    loop(written, session + types.offset("luo_session", "file_set.files_list"), written.nodes["vm-alpha", 1])
    luo = read(written)
    assert luo.prepared[2].files == ()
    assert luo.prepared[2].findings


@pytest.mark.parametrize(
    "target", [0, 0xDEAD_0000_0000_0100, 0xFFFF_8880_0000_0000, (1 << 64) - 1, 0x7FFF_0000]
)
def test_a_list_that_leads_nowhere_keeps_what_came_before(target):
    written = lists().write(outgoing=SESSIONS)
    loop(written, written.nodes["vm-alpha"], target)
    luo = read(written)
    assert [session.name for session in luo.prepared] == ["vm-alpha"]
    assert [finding.rule for finding in luo.findings] == ["live-list-broken"]


def test_counters_that_disagree_with_lists_are_findings():
    written = lists().write(outgoing=[BuiltSession("vm", (BuiltFile(1, 0x1000),), count=5)])
    written.set_top("outgoing.count", 3)
    luo = read(written)
    assert [finding.rule for finding in luo.findings] == ["live-count-mismatch"]
    assert luo.findings[0].evidence == {"value": 3, "found": 1}
    assert [finding.rule for finding in luo.prepared[0].findings] == ["live-count-mismatch"]


def test_a_handler_that_cannot_be_read_leaves_the_file():
    written = lists().write(outgoing=SESSIONS)
    types = written.kernel.types
    entry = written.nodes["vm-alpha", 1] - types.offset("luo_file", "list")
    written.kernel.poke(entry + types.offset("luo_file", "fh"), (0xFFFF_8880_0000_0000).to_bytes(8, "little"))
    session = read(written).prepared[0]
    assert (session.files[0].token, session.files[0].handler) == (1, None)
    assert [finding.rule for finding in session.findings] == ["live-object-unreadable"]


def test_a_page_that_the_image_does_not_hold_is_said():
    written = lists().write(outgoing=SESSIONS)
    kernel = written.kernel
    place = kernel.phys(written.nodes["vm-alpha"]) // 4096 * 4096
    kernel.image.drop(place)
    kernel.image.alloc_page()
    luo = read(written)
    assert luo.prepared == ()
    assert luo.findings
    assert all(finding.unread and finding.severity is Severity.ERROR for finding in luo.findings)
    assert any("not in the dump" in finding.message for finding in luo.findings)


def test_a_compatible_string_may_be_behind_a_pointer():
    structs = replaced("liveupdate_file_handler", ("compatible", Pointer()), ("list", LIST))
    written = lists(structs)
    text = written.kernel.object(b"other-v7\0")
    written._handlers["memfd-v2"] = written.kernel.static("liveupdate_file_handler", compatible=text)
    luo = read(written.write(outgoing=[BuiltSession("vm", (BuiltFile(1),))]))
    assert luo.prepared[0].files[0].handler == "other-v7"


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=15)
files = st.lists(
    st.builds(BuiltFile, st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 52) - 1)),
    max_size=4,
    unique_by=lambda f: f.token,
)


@settings(max_examples=settings().max_examples // 4)  # a kernel each
@given(st.lists(st.builds(BuiltSession, names, files.map(tuple)), max_size=5, unique_by=lambda s: s.name))
def test_any_sessions_are_read_as_they_were_written(sessions):
    luo = read(lists().write(outgoing=sessions))
    assert shape(luo.prepared) == written_shape(tuple(sessions))
    assert luo.findings == ()


@settings(max_examples=settings().max_examples // 4)
@given(st.data())
def test_damaged_lists_never_raise(data):
    written = lists().write(outgoing=SESSIONS, incoming=[BuiltSession("in", (BuiltFile(7, 1),))])
    for _ in range(data.draw(st.integers(1, 4))):
        node = data.draw(st.sampled_from(sorted(written.nodes.values())))
        at = node + data.draw(st.integers(-128, 128))
        written.kernel.poke(at, data.draw(st.binary(min_size=1, max_size=8)))
    read(written)
