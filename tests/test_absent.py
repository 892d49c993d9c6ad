"""What an image lacks is never held against the kernel that wrote the handover, and never passed over in silence."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from khodump.abi.kexec_handover import KHO_SCRATCH, KhoScratch
from khodump.api import open_leniently
from khodump.checking.checkup import examine
from khodump.checking.rule import Effect
from khodump.errors import KhodumpError
from khodump.findings import Severity
from khodump.handover import Handover
from khodump.kernel import WhyNot
from khodump.luo_sessions import find_sessions
from tests.builders.kernel.living import LivingKernel
from tests.builders.kernel.luo_lists import BuiltSession
from tests.builders.memfd import Folio, Memfd
from tests.captures import CAPTURES, HISTORIC
from tests.kernel.moments import MOMENTS
from tests.lacking import lacking
from tests.transcript import run

EVERY = CAPTURES | HISTORIC
#: What stands between a command and its options; each answers with rows.
COMMANDS = {
    "inspect": [],
    "owners": [],
    "sessions": [],
    "subtrees": [],
    "tree": [],
    "map": [],
    "lookup": ["0x40000000"],
}
#: Variants that each command is tried on.
MOST = 8
#: Variants of each moment, which are large: all of them take minutes. KHODUMP_EVERY_VARIANT=1 tries all.
MOST_OF_A_MOMENT = None if os.environ.get("KHODUMP_EVERY_VARIANT") else 12


def worst(path) -> Effect | None:
    """The worst that is foretold of the handover in this image; None where none is found in it."""
    try:
        with open_leniently(path) as suspect:
            outcomes = [diagnosis.outcome.effect for diagnosis in examine(suspect).diagnoses]
    except KhodumpError:
        return None
    return max(outcomes, default=Effect.NONE)


def accusations(whole: Path, image: Path, most: int | None) -> list[str]:
    """What the image may lack so that a worse is foretold than of the whole one; `image` is written for each."""
    allowed = max(worst(whole) or Effect.NONE, Effect.UNKNOWN)
    found: list[str] = []
    for what, make in lacking(whole.read_bytes(), most):
        image.write_bytes(make())
        foretold = worst(image)
        if foretold is not None and foretold > allowed:
            found.append(f"{what}: {foretold.name}")
    return found


@pytest.mark.parametrize("name", EVERY)
def test_what_an_image_lacks_accuses_nobody(name, tmp_path):
    """Each segment dropped in turn, all from each on, and cut at 20 places."""
    assert accusations(EVERY[name].path, tmp_path / "core", None) == []


@pytest.mark.parametrize("name", MOMENTS)
def test_what_an_image_of_a_running_kernel_lacks_accuses_nobody(name, moments, tmp_path):
    assert accusations(moments[name].image, tmp_path / "core", MOST_OF_A_MOMENT) == []


def test_scratch_regions_of_a_running_kernel_are_not_lost_in_silence(moments, tmp_path):
    """A note says why they are not known, wherever the image should hold the kernel that knows them."""
    whole, image = moments["outgoing"].image, tmp_path / "core"
    lost = 0
    for what, make in lacking(whole.read_bytes(), 24):
        image.write_bytes(make())
        try:
            with open_leniently(image) as suspect:
                if isinstance(suspect, Handover) and suspect.scratch is None:
                    running = suspect.running
                    places = None if running is None else running.places
                    told = places is not None and (not isinstance(places, WhyNot) or places.is_loss)
                    assert told == any(
                        "scratch regions are not known" in str(note) for note in suspect.notes
                    ), what
                    lost += told
        except KhodumpError:
            continue
    assert lost


@pytest.fixture(scope="module")
def kernel():
    """A kernel with a session in its own lists alone, one that it received, and scratch regions in its own table alone."""
    living = LivingKernel.of(Memfd((Folio(0, b"disk", 1),)))
    received = living.receive(Memfd((Folio(0, b"old"),)))
    living.lists.write(outgoing=[living.prepared(1)], incoming=[BuiltSession("old", received)])
    table = living.kernel.object(KHO_SCRATCH.build(KhoScratch(0x4080_0000, 0x40_0000)))
    living.kernel.variable("kho_scratch", table.to_bytes(8, "little"))
    living.kernel.variable("kho_scratch_cnt", (1).to_bytes(4, "little"))
    return living.kernel


@dataclass(frozen=True)
class Answer:
    """What is known of a handover, and whether a person is told that more may be missing."""

    sessions: frozenset[str]
    owners: frozenset[str]
    has_scratch: bool
    is_doubted: bool
    lacks_scratch: bool

    @classmethod
    def of(cls, handover: Handover) -> Answer:
        named = (
            f"{session.name}/{file.file.token}/{file.file.state is not None}"
            for session in find_sessions(handover)
            for file in session.files
        )
        notes = "\n".join(map(str, handover.notes))
        return cls(
            frozenset(named),
            frozenset(map(str, handover.ownership.owners)),
            handover.scratch is not None,
            any(finding.severity is Severity.ERROR for finding in handover.all_findings),
            "scratch regions are not known" in notes,
        )

    def silent_about(self, whole: Answer) -> list[str]:
        """What the whole image tells and this one does not, without a word."""
        gone = []
        if not self.is_doubted and not whole.sessions <= self.sessions:
            gone.append("sessions")
        if not self.is_doubted and not whole.owners <= self.owners:
            gone.append("owners")
        if not self.has_scratch and not self.lacks_scratch:
            gone.append("scratch")
        return gone


def test_nothing_that_a_kernel_tells_is_lost_in_silence(kernel, tmp_path):
    """Each page of a running kernel dropped in turn: its tables of symbols, types, page tables, variables and lists."""
    told, image = kernel.finish(), kernel.image

    def answer_of(core: Path) -> Answer | None:
        image.to_elf(core, machine=kernel.machine.elf_machine, vmcoreinfo=told)
        try:
            with open_leniently(core) as suspect:
                return Answer.of(suspect) if isinstance(suspect, Handover) else None
        except KhodumpError:
            return None  # it says so itself, with a status

    whole = answer_of(tmp_path / "whole")
    assert whole is not None
    assert whole.has_scratch
    assert len(whole.sessions) == 2
    silent: dict[int, list[str]] = {}
    for page in [at for start, end in image.ranges for at in range(start, end, 4096)]:
        data = image.read(page, 4096)
        image.drop(page)
        fewer = answer_of(tmp_path / "fewer")
        image.write(page, data)
        gone = [] if fewer is None else fewer.silent_about(whole)
        if gone:
            silent[page] = gone
    assert silent == {}


def answer(command, image):
    """The status of a command, and its rows."""
    options = COMMANDS[command]
    ran = run(command, image, *options, "--format", "json", "-q")
    told = json.loads(ran.stdout) if ran.stdout else {}
    rows = {name: value for name, value in told.items() if isinstance(value, list) and name != "findings"}
    return ran.status, {name: [row for row in value if not is_of_image(row)] for name, value in rows.items()}


def is_of_image(row):
    """Whether a row is about what the image holds, or how the map is read, which says itself that it is a guess."""
    return row.get("category") in ("image", "missing") or row.get("what") == "preserved memory"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["luo-memfd serialized", "kho-test serialized", "successor", "v1a"])
def test_no_command_is_silent_about_what_lacks(name, command, tmp_path):
    whole = EVERY[name].path
    _, rows = answer(command, whole)
    for what, make in lacking(whole.read_bytes(), MOST):
        image = tmp_path / "core"
        image.write_bytes(make())
        status, fewer = answer(command, image)
        assert status or fewer == rows, what
