"""What is said of LUO's own lists, in kernels that are built with a whole handover in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest

from khodump.api import open_in
from khodump.checking.checkup import examine
from khodump.checking.rules import live
from khodump.extraction.extract import UnreadableError, extract, plan_memfd
from khodump.extraction.sinks import StreamSink
from khodump.handover import Handover
from khodump.luo_sessions import find_sessions
from khodump.tables.owners import owners
from tests.builders.kernel.living import LivingKernel
from tests.builders.kernel.luo_lists import BuiltFile, BuiltSession
from tests.builders.memfd import Folio, Memfd

DISK = Memfd((Folio(0, b"disk", 1), Folio(2, b"end")))


@contextmanager
def opened(living: LivingKernel) -> Iterator[Handover]:
    with living.kernel.opened() as memory, open_in(memory) as handover:
        assert handover.fdt_phys == living.handover.fdt_phys
        yield handover


def content(handover: Handover, session: str, token: int) -> bytes:
    out = BytesIO()
    plan = plan_memfd(handover, session, token)
    assert plan.warnings == ()

    @contextmanager
    def target(room: int) -> Iterator[StreamSink]:  # noqa: ARG001 - as all
        yield StreamSink(out)

    extract(handover.memory, plan, target)
    return out.getvalue()


WANTED = b"disk".ljust(8192, b"\0") + b"end".ljust(4096, b"\0")


def rules_of(handover: Handover) -> list[str]:
    names = {rule.name for rule in live.RULES}
    return [each.finding.rule for each in examine(handover).diagnoses if each.finding.rule in names]


def test_what_is_not_serialized_is_had_from_the_list():
    living = LivingKernel.of(DISK)
    living.lists.write(outgoing=[living.prepared(1)])
    with opened(living) as handover:
        (session,) = find_sessions(handover)
        assert (session.name, session.list) == ("vm", "outgoing")
        assert content(handover, "vm", 1) == WANTED
        assert rules_of(handover) == ["sessions-in-lists"]
        assert "not yet serialized" in (owners(handover).tail().summary or "")
        folios = 'LUO/session "vm"/file 0x1 (memfd)/folios'
        assert folios in {str(name) for block in owners(handover).rows.blocks for name in block[0]}


def test_what_both_tell_is_told_once():
    living = LivingKernel.of(DISK, serialized=True)
    living.lists.write(outgoing=[living.prepared(1)])
    with opened(living) as handover:
        assert [(session.name, session.list) for session in find_sessions(handover)] == [("vm", "serialized")]
        assert rules_of(handover) == []


@pytest.mark.parametrize(
    "listed",
    [
        (),
        (BuiltSession("other"),),
        (BuiltSession("vm"),),
        (BuiltSession("vm", (BuiltFile(1, 0x1000),)),),
        (BuiltSession("vm", (BuiltFile(2, 0x1000),)),),
    ],
    ids=["nothing", "another session", "no file", "another state", "another token"],
)
def test_a_difference_to_what_is_serialized_is_a_finding(listed):
    living = LivingKernel.of(DISK, serialized=True)
    living.lists.write(outgoing=listed)
    with opened(living) as handover:
        assert "live-serialized-mismatch" in rules_of(handover)
        assert {session.list for session in find_sessions(handover)} == {"serialized"}


def test_a_received_file_is_rebuilt_by_its_struct_pages():
    living = LivingKernel.of(DISK)
    living.lists.write(incoming=[BuiltSession("old", living.receive(DISK))])
    with opened(living) as handover:
        assert content(handover, "old", 1) == WANTED
        assert rules_of(handover) == ["sessions-received", "files-not-retrieved"]


@pytest.mark.parametrize(
    ("status", "said", "rules"), [(1, "was retrieved", []), (-5, r"errno 5", ["files-failed"])]
)
def test_what_was_retrieved_is_never_decoded(status, said, rules):
    living = LivingKernel.of(DISK)
    (file,) = living.receive(DISK)
    taken = BuiltFile(file.token, file.data, status)
    living.lists.write(incoming=[BuiltSession("old", (taken,), retrieved=True)])
    with opened(living) as handover:
        assert find_sessions(handover)[0].files[0].file.state is None
        with pytest.raises(UnreadableError, match=said):
            plan_memfd(handover, "old", 1)
        assert rules_of(handover) == [*rules, "sessions-received"]


def test_a_name_in_both_lists_is_that_of_the_handover_at_hand_and_said():
    living = LivingKernel.of(DISK)
    old = BuiltSession("vm", living.receive(Memfd((Folio(0, b"old"),))))
    living.lists.write(incoming=[old], outgoing=[living.prepared(1)])
    with opened(living) as handover:
        plan = plan_memfd(handover, "vm", 1)
        assert plan.size == len(WANTED)
        assert "in several lists (incoming, outgoing)" in plan.warnings[-1]


def test_without_struct_pages_the_size_of_folios_is_a_guess_and_said():
    living = LivingKernel.of(DISK)
    living.lists.write(incoming=[BuiltSession("old", living.receive(DISK, has_orders=False))])
    with opened(living) as handover:
        assert plan_memfd(handover, "old", 1).misgivings


def test_damaged_lists_are_findings_of_check():
    living = LivingKernel.of(DISK)
    living.lists.write(outgoing=[living.prepared(1)])
    living.lists.set_top("outgoing.count", 7)
    with opened(living) as handover:
        assert "live-count-mismatch" in rules_of(handover)
    node = living.lists.nodes["vm"]
    living.kernel.poke(node, (node + 8).to_bytes(8, "little"))
    with opened(living) as handover:
        assert {"live-list-broken", "live-object-unreadable"} & set(rules_of(handover))


def test_an_fdt_that_the_variable_does_not_lead_to_is_searched_for_and_that_is_said():
    living = LivingKernel.of(DISK)
    living.lists.write()
    types = living.kernel.types
    place = living.kernel.symbols["kho_out"] + types.offset("kho_out", "fdt")
    living.kernel.poke(
        place, living.kernel.machine.direct(living.kernel.image.alloc_page()).to_bytes(8, "little")
    )
    with opened(living) as handover:
        assert any(
            str(note).startswith("searching the image: kho_out.fdt leads to") for note in handover.notes
        )
        assert handover.live_luo is None


def test_without_names_of_data_it_is_searched_and_that_is_said():
    living = LivingKernel.of(DISK)
    living.kernel.omitted |= set(living.kernel.symbols) - {"kho_init", "_text", "_stext"}
    with opened(living) as handover:
        assert any("CONFIG_KALLSYMS_ALL" in str(note) for note in handover.notes)
