"""LUO's sessions of a real kernel at four moments, through the commands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from khodump.api import open_handover, open_in
from khodump.checking.checkup import examine
from khodump.extraction.extract import UnreadableError, plan_memfd
from khodump.luo_sessions import find_sessions
from khodump.memories import open_memory
from khodump.opening.running import Role
from khodump.tables.owners import owners
from tests.kernel.counting import CountingMemory
from tests.kernel.moments import MOMENTS
from tests.transcript import run

LISTS = {"outgoing": "outgoing", "incoming": "incoming", "incoming-blocks": "incoming"}


def listed(image: Any, *options: str) -> list[dict[str, Any]]:
    shown = run("sessions", image, "--format", "json", *options)
    files: list[dict[str, Any]] = json.loads(shown.stdout)["files"]
    return files


def wanted(moment: Any) -> list[tuple[Any, ...]]:
    rows = []
    for row in moment.files:
        number = {
            key: None if row[key] == "-" else int(row[key], 0)
            for key in ("token", "serialized_data", "size", "folios")
        }
        handler = None if row["handler"] == "-" else row["handler"]
        rows.append((row["session"], number["token"], handler, *list(number.values())[1:]))
    return sorted(rows, key=str)


@pytest.mark.parametrize("name", MOMENTS)
def test_sessions_are_those_of_the_kernel(moments, name):
    rows = listed(moments[name].image)
    found = [
        (row["session"], row["token"], row["handler"], row["data"], row["size"], row["folios"])
        for row in rows
    ]
    assert sorted(found, key=str) == wanted(moments[name])
    lists = {LISTS[row["list"]] for row in moments[name].files}
    assert {row["list"] for row in rows} == ({"serialized"} if name == "serialized" else lists)


@pytest.mark.parametrize("name", [name for name in MOMENTS if name != "serialized"])
def test_what_is_retrieved_is_said_of_each_file(moments, name):
    rows = listed(moments[name].image)
    retrieved = {(row["session"], row["token"]): row["retrieved"] for row in rows if row["token"] is not None}
    assert retrieved == {
        (row["session"], int(row["token"], 0)): row["retrieve_status"] == "1"
        for row in moments[name].files
        if row["handler"] != "-"
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("outgoing", "61 sessions, 110 files; from the kernel's lists, not yet serialized"),
        ("serialized", "61 sessions, 110 files"),
        ("successor", "61 sessions, 110 files; received, 2 of 61 retrieved"),
        ("successor-untouched", "61 sessions, 110 files; received, 0 of 61 retrieved"),
    ],
)
def test_the_summary_says_what_it_rests_on(moments, name, said):
    shown = run("sessions", moments[name].image)
    summary, _, contents = shown.stderr.splitlines()[-1].rpartition("; ")
    assert summary == f"khodump: {said}"
    assert contents.endswith("in their folios are not in the image")  # the samples hold metadata alone
    assert shown.status == 0


class Unsearched(CountingMemory):
    """Counts what is read, gathered pages as well; a search of it fails the test."""

    def gather(self, addresses: Any, size: int) -> Any:
        self.read_pages.update((addresses >> 12).tolist())
        return self._memory.gather(addresses, size)


@pytest.mark.parametrize("name", MOMENTS)
def test_nothing_is_searched(moments, name):
    facts = moments[name].facts
    with Unsearched(open_memory([moments[name].image])) as memory, open_in(memory) as handover:
        assert handover.fdt.phys == int(facts["fdt_phys"], 16)
        assert handover.role is Role.OUTGOING
        assert handover.is_anchored
        assert handover.successor is None
        assert [[hex(region.addr), region.size] for region in handover.scratch or ()] == facts["scratch"]
        assert len(find_sessions(handover)) == 61
        owners(handover)
        assert len(memory.read_pages) < 1600


@pytest.mark.parametrize("name", ["successor", "successor-untouched"])
def test_the_kernel_says_which_handover_it_received(moments, name):
    incoming = int(moments[name].facts["in_fdt_phys"], 16)
    with Unsearched(open_memory([moments[name].image])) as memory, open_in(memory, fdt=incoming) as handover:
        assert handover.role is Role.INCOMING
        assert handover.successor is not None
        assert "kho_in.fdt_phys" in handover.successor.basis


def test_a_retrieved_file_is_not_decoded(moments):
    with open_handover(moments["successor"].image) as handover:
        for session in find_sessions(handover):
            for file in session.files:
                assert (file.file.state is None) == file.is_retrieved
        with pytest.raises(UnreadableError, match="was retrieved: the kernel has freed"):
            plan_memfd(handover, "vm-alpha", 1)


def test_what_files_preserve_has_an_owner_before_the_jump(moments):
    shown = run("owners", moments["outgoing"].image)
    assert "24 KiB of it claimed by nobody" in shown.stderr
    assert "61 sessions of LUO are from the kernel's lists: not yet serialized" in shown.stderr


def test_check_says_what_the_panicked_successor_leaves(moments):
    with open_handover(moments["successor"].image) as handover:
        told = {each.finding.rule: each.finding for each in examine(handover).diagnoses}
    received = told["sessions-received"]
    assert received.evidence == {"sessions": 61, "retrieved": 2}
    assert '("vm-alpha", "many-files")' in received.message
    waiting = told["files-not-retrieved"]
    assert str(waiting.owner) == 'LUO/session "vm-beta"'
    assert waiting.evidence["files"] == 6


@pytest.mark.parametrize("name", MOMENTS)
def test_nothing_is_held_against_any_moment(moments, name):
    with open_handover(moments[name].image) as handover:
        assert handover.all_findings == ()
        checkup = examine(handover)
    assert {each.finding.severity.value for each in checkup.diagnoses} <= {"info"}
