"""Doubt is never lost on its way to a person: each command tells a finding that no rule knows, and what lists lack."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import pytest

from khodump import subtrees, trackers
from khodump.abi import kernels
from khodump.abi.kernels import Kernel
from khodump.checking import case
from khodump.findings import Finding, Severity
from khodump.memory import PhysicalMemory
from khodump.problems import Problem
from khodump.rows import Fact, Kind
from khodump.subtree import Blob, Context, Decoded
from khodump.trackers import FORMATS
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd
from tests.builders.users import Memblock, ReserveMem
from tests.commands import COMMANDS
from tests.test_docs import PYTHON
from tests.transcript import ROOT, run

#: Commands that open no handover, and so meet no decoder.
WITHOUT = {"formats", "key", "completion", "scan"}
LOGS = 0x4000_0000
#: Two pages of entries, and a few.
FOLIOS = 600
NOWHERE = Context(cast("PhysicalMemory", None), 4096)


class ClockStopped(Problem, name="clock-stopped", title="the clock has stopped"):
    """As a decoder of one's own may declare it."""


class ClockSlow(Problem, name="clock-slow", title="the clock is slow", severity=Severity.WARNING):
    """As above."""


class ClockUnread(Problem, name="clock-unread", title="the clock's page is not in the image", unread=True):
    """As above."""


@dataclass(frozen=True)
class Given:
    """A finding of a decoder that khodump does not know, and what the commands make of it."""

    name: str
    make: Callable[[Context], Finding]
    check: int
    other: int


GIVEN = [
    Given("clock-stopped", lambda context: context.problem(ClockStopped(), 0x5000, "it has stopped"), 1, 4),
    Given("clock-slow", lambda context: context.problem(ClockSlow(), None, "it is slow"), 0, 0),
    Given("clock-unread", lambda context: context.problem(ClockUnread(), 1 << 63, "it is not there"), 4, 4),
    Given(
        "clock-by-hand", lambda context: context.problem("clock-by-hand", (1 << 64) + 5, "odd", value=3), 1, 4
    ),
    # One that takes a name of khodump's own, without the numbers that the rule reads.
    Given("blob-too-small", lambda context: context.problem("blob-too-small", None, "too small"), 1, 4),
    Given("memfd-folio-overlap", lambda context: context.problem("memfd-folio-overlap", None, "twice"), 1, 4),
    Given(
        "fdt-invalid", lambda _: Finding("fdt-invalid", Severity.ERROR, None, "nothing of it", {}, None), 1, 4
    ),
]


def clock(given: Given, context: Context, blob: Blob) -> Decoded:  # noqa: ARG001 - a decoder
    return Decoded("clock", (Fact("ticks", 7, Kind.COUNT),), findings=(given.make(context),))


def lines_of(path, out):
    """A command line for each command that opens a handover."""
    return {
        "check": ["check", path],
        "diff": ["diff", path, path],
        "extract": ["extract", path, "--blob", "clock"],
        "inspect": ["inspect", path],
        "lookup": ["lookup", path, hex(LOGS)],
        "map": ["map", path],
        "owners": ["owners", path],
        "report": ["report", path, "-o", out / "report.html", "--force"],
        "sessions": ["sessions", path],
        "slim": ["slim", path, "-o", out / "slim.elf", "--force"],
        "subtrees": ["subtrees", path],
        "tree": ["tree", path],
    }


def test_every_command_is_there(tmp_path):
    assert {*lines_of("core", tmp_path), *WITHOUT} == {*COMMANDS, "completion"}


@pytest.fixture(scope="module")
def handover(tmp_path_factory):
    logs = Memblock((ReserveMem("logs", LOGS, 0x1000),))
    built = build_handover(Description(subtrees={"memblock": logs, "clock": b"tick tock"}))
    return built.image.to_elf(tmp_path_factory.mktemp("doubt") / "core", machine="EM_X86_64")


def decoded_by(monkeypatch, decoder) -> None:
    known = dict(subtrees._decoders())
    monkeypatch.setattr(subtrees, "_decoders", lambda: {**known, "clock": decoder})


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in WITHOUT])
@pytest.mark.parametrize("given", GIVEN, ids=lambda given: given.name)
def test_a_finding_that_no_rule_knows_is_told_by_each(command, given, handover, tmp_path, monkeypatch):
    decoded_by(monkeypatch, partial(clock, given))
    ran = run(*lines_of(handover, tmp_path)[command])
    assert given.name in ran.screen
    message = given.make(NOWHERE).message
    assert message in ran.screen
    alike = 0 if given.other == 0 else 2  # of diff
    # slim leaves out a blob of which its decoder keeps nothing, whatever was found in it.
    status = {"check": given.check, "diff": alike, "slim": 4}.get(command, given.other)
    assert ran.status == status


#: The other ways in which extract takes something out of a handover; none of it is what the finding is about,
#: so that the status is that of what was asked for.
EXTRACTED = [["--range", f"{LOGS:#x}+4K"], ["--reserve-mem", "logs"], ["--blob", "memblock"]]


@pytest.mark.parametrize("option", EXTRACTED, ids=" ".join)
@pytest.mark.parametrize("given", GIVEN[:3], ids=lambda given: given.name)
def test_extract_tells_it_whatever_it_takes_out(given, option, handover, monkeypatch):
    decoded_by(monkeypatch, partial(clock, given))
    ran = run("extract", handover, *option, "-o", os.devnull, "--force")
    assert given.name in ran.screen
    assert given.make(NOWHERE).message in ran.screen


def test_scan_meets_no_decoder(handover, monkeypatch):
    """It lists root FDTs, and what each leads to is for the commands that open one."""

    def none(context: Context, blob: Blob) -> Decoded:
        raise AssertionError((context, blob))

    decoded_by(monkeypatch, none)
    assert run("scan", handover).status == 0


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: given.name)
def test_check_shows_it_as_itself(given, handover, monkeypatch):
    decoded_by(monkeypatch, partial(clock, given))
    told = json.loads(run("check", handover, "--format", "json").stdout)
    finding = given.make(NOWHERE)
    (row,) = told["findings"]
    assert (row["rule"], row["severity"], row["phys"]) == (finding.rule, finding.severity, finding.phys)
    assert "nothing was found against it" not in told["verdict"]


def test_the_report_shows_it(handover, tmp_path, monkeypatch):
    decoded_by(monkeypatch, partial(clock, GIVEN[0]))
    run("report", handover, "-o", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "clock-stopped" in text
    assert "it has stopped" in text


def the_decoder_of_contributing():
    """The one of CONTRIBUTING.md's recipe."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = (code for code, _ in PYTHON.findall(page) if "CLOCK_STATE" in code)
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(code, "CONTRIBUTING", "exec", dont_inherit=True), names)  # noqa: S102 - our own page
    return names["decode"]


@pytest.mark.parametrize(("blob", "status"), [(u64(7) + u64(0x5000), 1), (b"abc", 1)])
def test_the_decoder_of_the_recipe_runs_through_check(blob, status, tmp_path, monkeypatch, capsys):
    decoded_by(monkeypatch, the_decoder_of_contributing())
    capsys.readouterr()
    path = build_handover(Description(subtrees={"clock": blob})).image.to_elf(
        tmp_path / "core", machine="EM_X86_64"
    )
    ran = run("check", path)
    assert ran.status == status
    assert "clock" in ran.stdout
    assert run("subtrees", path).status == (4 if blob == b"abc" else 0)


# --- lists that are not in the image


def with_a_memfd(*, hidden: int = 0, **what) -> BuiltHandover:
    """A session with a memfd, of whose list of folios the last `hidden` pages are not in the image."""
    memfd = Memfd(tuple(Folio(index) for index in range(FOLIOS)), **what)
    built = build_handover(Description(subtrees={"LUO": Luo((Session("vm", (LuoFile(1, memfd),)),))}))
    pages = built.places["LUO/sessions/0/files/0/folios/blocks"]
    for page in pages[len(pages) - hidden :]:
        built.image.drop(page)
    return built


LISTED = {1: "512 of 600 folios listed", 2: "256 of 600 folios listed", 3: "0 of 600 folios listed"}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in WITHOUT])
@pytest.mark.parametrize("hidden", LISTED)
def test_each_command_says_what_a_list_lacks(command, hidden, tmp_path):
    built = with_a_memfd(hidden=hidden)
    path = built.image.to_elf(tmp_path / "core", machine="EM_X86_64")
    (phys,) = (phys for phys, order in sorted(built.blocks)[:1])
    line = lines_of(path, tmp_path)[command]
    if command == "extract":
        line = ["extract", path, "--memfd", "vm/1"]
    if command == "lookup":
        line[2] = hex(phys)
    ran = run(*line)
    assert ran.status == (2 if command == "diff" else 4)
    assert LISTED[hidden] in ran.screen or command == "extract"
    assert "claimed by nobody" not in ran.stderr


def test_nobodys_memory_is_not_called_so_while_a_list_is_unread(tmp_path):
    built = with_a_memfd(hidden=3)
    path = built.image.to_elf(tmp_path / "core", machine="EM_X86_64")
    owners = json.loads(run("owners", path, "--format", "json").stdout)
    assert owners["claimed_by_nobody"] is None
    assert owners["owner_not_known"] == FOLIOS * 4096
    assert "(unknown: 1 list unread)" in [row["owner"] for row in owners["owners"]]
    folio = hex(built.places["LUO/sessions/0/files/0/contents"][0])
    looked = json.loads(run("lookup", path, folio, "--format", "json").stdout)
    assert looked["addresses"][0]["owner"] == "unknown: 1 list unread"
    runs = json.loads(run("inspect", path, "--owners", "--format", "json").stdout)["runs"]
    assert {row["owner"] for row in runs} >= {"unknown: 1 list unread"}
    assert "unknown: 1 list unread" in run("map", path, "--by", "owner").stdout
    assert "not listed" in run("sessions", path).stdout


def test_rules_that_need_the_list_say_so(tmp_path):
    path = with_a_memfd(hidden=1).image.to_elf(tmp_path / "core", machine="EM_X86_64")
    told = json.loads(run("check", path, "--format", "json").stdout)
    assert [row["rule"] for row in told["findings"]] == ["memfd-list-unread"]
    assert told["verdict"].endswith("part of it could not be read.")
    skipped = ", ".join(row["not_run"] for row in told["not_run"])
    for rule in (
        "memfd-folio-overlap",
        "memfd-size-mismatch",
        "memfd-folio-flags",
        "claimed-twice",
        "unclaimed",
    ):
        assert rule in skipped
    run("report", path, "-o", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Everything that was looked for was in the image" not in text
    assert "512 of 600 folios listed" in text


def test_damage_elsewhere_is_still_found(tmp_path):
    """An unread list keeps no rule from what it can see."""
    good = Memfd((Folio(0), Folio(0)))
    memfd = Memfd(tuple(Folio(index) for index in range(FOLIOS)))
    luo = Luo((Session("vm", (LuoFile(1, memfd), LuoFile(2, good))),))
    built = build_handover(Description(subtrees={"LUO": luo}))
    built.image.drop(built.places["LUO/sessions/0/files/0/folios/blocks"][0])
    ran = run("check", built.image.to_elf(tmp_path / "core", machine="EM_X86_64"), "--format", "json")
    assert ran.status == 1
    rules = {row["rule"] for row in json.loads(ran.stdout)["findings"]}
    assert rules == {"memfd-list-unread", "memfd-folio-overlap"}


@pytest.mark.parametrize("zeroed", [[1], [0, 1, 2]], ids=["part", "all"])
def test_a_list_of_zeros_is_damage_and_no_sparse_file(zeroed, tmp_path):
    built = with_a_memfd()
    for page in zeroed:
        built.image.write(built.places["LUO/sessions/0/files/0/folios/blocks"][page], bytes(4096))
    path = built.image.to_elf(tmp_path / "core", machine="EM_X86_64")
    told = run("check", path)
    assert told.status == 1
    assert "memfd-folio-missing" in told.stdout
    assert run("extract", path, "--memfd", "vm/1", "-o", tmp_path / "vm").status == 4
    assert not (tmp_path / "vm").exists()
    assert run("sessions", path).status == 4


# --- a version that is added


@pytest.mark.parametrize("sized", [True, False])
def test_a_new_version_has_the_facts_of_the_table(sized, tmp_path, monkeypatch):
    """One row in each table, and `check` knows whether its nodes must say how large their blobs are."""
    kernel = Kernel("7.9", "kho-v5", "luo-v5", ("memfd-v2",), sized=sized)
    monkeypatch.setattr(kernels, "KERNELS", (kernel, *kernels.KERNELS))
    monkeypatch.setattr(case, "KERNELS", kernels.KERNELS)
    monkeypatch.setattr(trackers, "FORMATS", (FORMATS[0]._replace(version="kho-v5"), *FORMATS))
    logs = Memblock((ReserveMem("logs", LOGS, 0x1000),))
    built = build_handover(Description(compatible="kho-v5", subtrees={"memblock": logs}, kexec_count=None))
    built.image.write(built.fdt_phys + built.fdt.index(b"blob-size\0"), b"B")
    ran = run("check", built.image.to_elf(tmp_path / "core", machine="EM_X86_64"))
    assert ran.status == (1 if sized else 0)
    assert ("subtree-incomplete" in ran.stdout) == sized
    assert ("missing or invalid blob-size property" in ran.stdout) == sized
