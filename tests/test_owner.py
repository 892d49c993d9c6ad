"""Whose something is: names out of an image may spell any path, and no owner is mistaken for another by its words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from khodump.abi.kernels import kernel_named
from khodump.api import open_leniently
from khodump.checking.case import Case
from khodump.owner import Owner
from khodump.subtrees.luo_state import file_owner, session_owner
from khodump.subtrees.memfd import array_owners
from tests.builders.luo import Luo, LuoFile, Session
from tests.checking.rules.breaking import MEMFD, handed_over

#: Pieces of paths, so that names often spell what an owner's path spells.
NAMES = st.lists(st.sampled_from(["a", "/", '"', "session ", "file 0x1 (memfd)", "folios"]), max_size=5).map(
    "".join
)
PARTS = st.none() | st.sampled_from(["blob", "files", "folios", "folio array"])
OWNERS = st.builds(Owner, NAMES) | st.one_of(
    st.builds(Owner, NAMES, part=PARTS),
    st.builds(Owner, st.just("LUO"), NAMES, part=PARTS),
    st.builds(Owner, st.just("LUO"), NAMES, st.integers(0, 2), PARTS, st.just("memfd")),
)
#: The name of a session whose path begins as that of the first file of session `a` does.
SPELLS_A_FILE = 'a"/file 0x1 (memfd)/"'


@given(OWNERS, OWNERS)
def test_an_owner_holds_itself_and_its_parts_and_nothing_that_is_only_spelled_so(one, other):
    assert one.holds(one)
    assert one.holds(one.with_part("folios")) == (one.part in (None, "folios"))
    if one.holds(other):
        assert (one.user, one.session or other.session) == (other.user, other.session)
        assert str(other).startswith(str(one))
    assert not (one.holds(other) and other.holds(one)) or one == other


@given(NAMES, st.integers(0, 1 << 63))
def test_what_a_file_takes_leads_back_to_the_file(name, token):
    file = file_owner(name, token, "memfd-v2")
    assert session_owner(name).holds(file)
    assert session_owner(name).file is None
    assert all(part.file == file for part in array_owners(file))


def test_a_path_reads_from_the_user_down():
    assert (
        str(file_owner("vm-1", 2, "memfd-v1").with_part("folios"))
        == 'LUO/session "vm-1"/file 0x2 (memfd)/folios'
    )
    assert str(session_owner("vm-1").with_part("files")) == 'LUO/session "vm-1"/files'
    assert str(Owner("kho_test", part="blob")) == "kho_test/blob"


def test_a_session_whose_name_spells_a_file_of_another_is_not_taken_for_it(tmp_path):
    files = (LuoFile(1, MEMFD),)
    built = handed_over({"LUO": Luo((Session("a", files), Session(SPELLS_A_FILE, files)))})
    with open_leniently(built.image.to_elf(tmp_path / "core", machine="EM_X86_64")) as suspect:
        case = Case(suspect, kernel_named("7.3"))
        assert case.file_of(session_owner(SPELLS_A_FILE)) is None
        assert case.session_of(session_owner(SPELLS_A_FILE).with_part("files")) == SPELLS_A_FILE
        for name in ("a", SPELLS_A_FILE):
            file = case.file_of(file_owner(name, 1, "memfd-v2").with_part("folios"))
            assert file is not None
            assert file.session == name
