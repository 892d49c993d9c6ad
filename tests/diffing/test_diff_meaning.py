"""What two handovers mean: what came, went and changed is named; what only lies elsewhere is no difference."""

from __future__ import annotations

import pytest

import khodump
from khodump.diffing.batch import Change
from khodump.diffing.meaning import Meaning, compare
from khodump.handover import Handover
from khodump.tables.diff import Diff
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import Memfd, MemfdFormat, folios_of
from tests.builders.users import KhoTest, Memblock, ReserveMem
from tests.captures import CAPTURES

PAGES = {0: b"first", 3: b"fourth", 700: b"last"}


def memfd(pages=PAGES, **what) -> Memfd:
    return Memfd(folios=folios_of(pages), format=MemfdFormat.V2, **what)


def session(name: bytes, *files: Memfd) -> Session:
    return Session(name, tuple(LuoFile(token, file) for token, file in enumerate(files)))


def handover(*sessions: Session, number: int = 1, flbs=(), subtrees=None, **what) -> BuiltHandover:
    luo = Luo(sessions=sessions, liveupdate_number=number, flbs=flbs)
    return build_handover(Description(subtrees={"LUO": luo, **(subtrees or {})}, **what))


def opened(tmp_path, name: str, built: BuiltHandover) -> Handover:
    """From a dump, in which what was dropped is absent instead of zero."""
    return khodump.open(built.image.to_elf(tmp_path / name, machine="EM_X86_64"))


def compared(tmp_path, old: BuiltHandover, new: BuiltHandover) -> Meaning:
    with opened(tmp_path, "old", old) as before, opened(tmp_path, "new", new) as after:
        return compare(before, after)


def told(meaning: Meaning) -> set[tuple[Change, str, str, str | None]]:
    """(change, what, name, field) of all but moves."""
    return {each[:4] for each in meaning.differences if each.change is not Change.MOVED}


FIRST, SECOND = session(b"first", memfd(), memfd()), session(b"second", memfd())


def test_sessions_and_their_files_come_and_go(tmp_path):
    meaning = compared(tmp_path, handover(FIRST), handover(SECOND))
    assert told(meaning) == {
        (Change.REMOVED, "session", "first", None),
        (Change.REMOVED, "file", "first/0x0", None),
        (Change.REMOVED, "file", "first/0x1", None),
        (Change.ADDED, "session", "second", None),
        (Change.ADDED, "file", "second/0x0", None),
    }
    assert meaning.serialization is None


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (memfd(size=12345), "size"),
        (memfd(pos=9), "position"),
        (memfd(seals=3), "seals"),
        (memfd({**PAGES, 5: b"more"}), "folios"),
        (memfd({0: b"first", 4: b"fifth", 700: b"last"}), "offsets and flags"),
    ],
)
def test_what_changes_of_a_file_is_named(changed, field, tmp_path):
    old, new = handover(session(b"s", memfd(size=1 << 22))), handover(session(b"s", changed))
    assert (Change.CHANGED, "file", "s/0x0", field) in told(compared(tmp_path, old, new))


def test_a_file_that_lies_elsewhere_has_not_changed(tmp_path):
    old, new = handover(FIRST), handover(FIRST, metadata_start=1 << 24)
    meaning = compared(tmp_path, old, new)
    assert told(meaning) == set()
    assert not meaning.differ
    moved = {(each.what, each.field) for each in meaning.differences}
    assert {("file", "state"), ("file", "folios"), ("subtree", "blob"), ("handover", "root FDT")} <= moved


def test_flbs_numbers_and_subtrees(tmp_path):
    old = handover(FIRST, flbs=(Flb("one", 1, 1), Flb("two", 2, 2)), subtrees={"kho_test": KhoTest((0, 1))})
    regions = Memblock((ReserveMem("trace", 0x4000_0000, 0x30_0000),))
    new = handover(
        FIRST,
        number=2,
        flbs=(Flb("one", 1, 3), Flb("three", 3, 1)),
        subtrees={"memblock": regions},
        release="7.9.9",
        kexec_count=2,
    )
    assert told(compared(tmp_path, old, new)) == {
        (Change.CHANGED, "flb", "one", "count"),
        (Change.REMOVED, "flb", "two", None),
        (Change.ADDED, "flb", "three", None),
        (Change.CHANGED, "subtree", "LUO", "live update number"),
        (Change.REMOVED, "subtree", "kho_test", None),
        (Change.ADDED, "subtree", "memblock", None),
        (Change.CHANGED, "subtree", "kexec-metadata", "release"),
        (Change.CHANGED, "subtree", "kexec-metadata", "kexec count"),
    }


def test_a_region_and_an_unknown_blob_that_change(tmp_path):
    def made(size: int, blob: bytes) -> BuiltHandover:
        regions = Memblock((ReserveMem("trace", 0x4000_0000, size),))
        return handover(subtrees={"memblock": regions, "somebody": blob})

    late = b"x" * 100
    meaning = compared(tmp_path, made(0x1000, late + b"1"), made(0x2000, late + b"2"))
    assert told(meaning) == {
        (Change.CHANGED, "subtree", "memblock", 'region "trace"'),
        (Change.CHANGED, "subtree", "somebody", "content"),
    }


@pytest.mark.parametrize(
    ("old", "new", "became"), [("pre", "serialized", True), ("serialized", "pre", False)]
)
def test_serialization_is_told_apart_from_coming_and_going(old, new, became):
    with (
        khodump.open(CAPTURES[f"luo-memfd {old}"].path) as before,
        khodump.open(CAPTURES[f"luo-memfd {new}"].path) as after,
    ):
        meaning = compare(before, after)
    assert meaning.serialization == (became, 61)
    assert meaning.differ
    assert {each.change for each in meaning.differences} == {Change.CHANGED}
    assert {each.what for each in meaning.differences} == {"subtree", "session", "flb"}


def test_sessions_of_equal_names_are_kept_apart(tmp_path):
    twice = handover(FIRST, FIRST)
    assert told(compared(tmp_path, twice, twice)) == set()
    assert (Change.REMOVED, "session", "first #2", None) in told(compared(tmp_path, twice, handover(FIRST)))


def test_a_file_that_cannot_be_read_is_in_doubt_and_has_not_changed(tmp_path):
    old, new = handover(FIRST), handover(FIRST)
    new.image.drop(new.places["LUO/sessions/0/files/0"][0])
    meaning = compared(tmp_path, old, new)
    assert told(meaning) == set()
    assert meaning.unsure == (("file", "first/0x0"),)


def test_sessions_whose_list_cannot_be_read_are_in_doubt_and_not_gone(tmp_path):
    old, new = handover(FIRST, SECOND), handover(FIRST, SECOND)
    new.image.drop(new.places["LUO/sessions"][0])
    meaning = compared(tmp_path, old, new)
    assert told(meaning) == set()
    assert {key for key in meaning.unsure if key[0] == "session"} == {
        ("session", "first"),
        ("session", "second"),
    }


@pytest.mark.parametrize("lost", ["LUO", "somebody"])
def test_a_blob_that_cannot_be_read_is_in_doubt(lost, tmp_path):
    old, new = (handover(FIRST, subtrees={"somebody": b"some"}) for _ in range(2))
    new.image.drop(new.blobs[lost])
    with opened(tmp_path, "old", old) as before, opened(tmp_path, "new", new) as after:
        found = Diff(before, after)
        assert not found.differ
        assert not found.complete
        assert ("subtree", lost) in found.meaning.unsure
        (table,) = (table for table in found.result().head().tables if table.name == "not compared")
        assert ("subtree", lost) in {row for block in table.blocks for row in zip(*block, strict=True)}
