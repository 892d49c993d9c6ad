"""Mutants of what the kernel takes on trust: each gives a finding, none a traceback, none silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from khodump.abi.kexec_handover import KHO_SCRATCH, KhoScratch
from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER
from khodump.api import open_leniently
from khodump.checking.checkup import Checkup, examine
from khodump.names import meant, spelled
from tests.builders.boot import Entry, kho_data, write_boot_params, write_scratch
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import Memfd, folios_of
from tests.builders.users import Memblock
from tests.builders.users import ReserveMem as Region
from tests.transcript import run

U64 = st.integers(0, (1 << 64) - 1)
#: What a kernel's command line, or ioctl(), may give as a name.
NAMES = st.binary(min_size=1, max_size=15).filter(lambda name: b"\0" not in name)
TABLE, BOOT_PARAMS, SETUP_DATA = 0x9F000, 0x90000, 0x94000
LOGS = 0x4000_0000
ENTRIES = "LUO/sessions/0/files/0/folios/entries"
COMMANDS = ("check", "inspect", "owners", "sessions", "map", "tree", "subtrees")
FEW = settings(max_examples=15, deadline=None)


@contextmanager
def mutated(built: BuiltHandover, at: int, data: bytes) -> Iterator[str]:
    """The path of an image with other bytes at `at`."""
    before = built.image.read(at, len(data))
    with TemporaryDirectory() as home:
        built.image.write(at, data)
        try:
            yield str(built.image.to_elf(Path(home) / "core", machine="EM_X86_64"))
        finally:
            built.image.write(at, before)


def checked(path: str) -> Checkup:
    with open_leniently(path) as suspect:
        return examine(suspect)


@pytest.fixture(scope="module")
def files() -> BuiltHandover:
    memfd = Memfd(folios_of(dict.fromkeys(range(4), b"")))
    luo = Luo((Session("vm", (LuoFile(1, memfd),)),), (Flb("pci", 7), Flb("iommu", 8)))
    return build_handover(Description(subtrees={"LUO": luo}))


@given(entry=st.integers(0, 3), field=st.sampled_from((0, 8)), value=U64 | st.integers(0, 16))
@FEW
def test_no_entry_of_a_list_of_folios_can_change_unseen(files, entry, field, value):
    at = files.places[ENTRIES][entry] + field
    assume(files.image.read(at, 8) != u64(value))
    with mutated(files, at, u64(value)) as path:
        assert checked(path).diagnoses


@given(first=st.integers(0, 3), count=st.integers(1, 4))
@FEW
def test_no_zeroed_part_of_a_list_of_folios_goes_unseen(files, first, count):
    size = MEMFD_LUO_FOLIO_SER.sizeof()
    with mutated(files, files.places[ENTRIES][first], bytes(size * min(count, 4 - first))) as path:
        assert checked(path).diagnoses


@given(field=st.sampled_from((0, 8)), value=U64 | st.integers(0, 100))
@FEW
def test_no_header_of_flbs_can_change_unseen(files, field, value):
    at = files.places["LUO/flbs"][0] + field
    assume(files.image.read(at, 8) != u64(value))
    with mutated(files, at, u64(value)) as path:
        assert checked(path).diagnoses
        assert run("sessions", path).status in (0, 4)


#: Of the entries of FLBs: the name, the owner's own data, and the users.
FLB_FIELDS = {"name": (0, 48), "data": (48, 8), "count": (56, 8)}


@given(entry=st.integers(0, 1), field=st.sampled_from([*FLB_FIELDS]), data=st.data())
@FEW
def test_an_entry_of_flbs_may_be_anything(files, entry, field, data):
    """What no kernel writes is found: no name, one without an end, no users; of the rest, each value is somebody's."""
    offset, size = FLB_FIELDS[field]
    value = data.draw(st.binary(min_size=size, max_size=size) | st.just(bytes(size)) | st.just(b"x" * size))
    at = files.places["LUO/flbs/entries"][entry] + offset
    with mutated(files, at, value) as path:
        is_odd = {
            "name": value[0] == 0 or 0 not in value,
            "data": False,
            "count": not any(value),
        }[field]
        rules = {diagnosis.finding.rule for diagnosis in checked(path).diagnoses}
        assert rules == ({"flb-list-invalid"} if is_odd else set())
        for command in COMMANDS:
            ran = run(command, path)
            assert ran.status in (0, 1, 4)
            assert not is_odd or "flb-list-invalid" in ran.screen


@given(value=st.binary(min_size=64, max_size=64) | st.just(bytes(64)) | st.just(b"x" * 64))
@FEW
def test_the_name_of_a_session_may_be_anything_that_ends(files, value):
    with mutated(files, files.places["LUO/sessions/entries"][0], value) as path:
        rules = {diagnosis.finding.rule for diagnosis in checked(path).diagnoses}
        assert rules == (set() if 0 in value else {"session-name-invalid"})
        for command in COMMANDS:
            ran = run(command, path)
            assert ran.status in (0, 1, 4)
            assert 0 in value or "session-name-invalid" in ran.screen


#: What leads to the list of folios, in struct memfd_luo_ser: offset and size.
LIST_FIELDS = {"nr_folios": (24, 8), "first": (32, 8), "total_pages": (40, 4), "order": (46, 2)}


@given(field=st.sampled_from([*LIST_FIELDS]), data=st.data())
@FEW
def test_nothing_that_leads_to_a_list_of_folios_can_change_unseen(files, field, data):
    offset, size = LIST_FIELDS[field]
    at = files.places["LUO/sessions/0/files/0"][0] + offset
    value = data.draw(st.binary(min_size=size, max_size=size))
    assume(files.image.read(at, size) != value)
    with mutated(files, at, value) as path:
        assert checked(path).diagnoses
        for command in COMMANDS:
            assert run(command, path).status in (0, 1, 4)


@pytest.fixture(scope="module")
def told() -> BuiltHandover:
    """A handover whose scratch regions the boot protocol tells."""
    logs = Memblock((Region("logs", LOGS, 0x4000),))
    built = build_handover(Description(subtrees={"memblock": logs}))
    size = write_scratch(built.image, TABLE, ((1 << 31, 16 << 20),))
    write_boot_params(built.image, BOOT_PARAMS, [Entry(SETUP_DATA, kho_data(built.fdt_phys, TABLE, size))])
    return built


REGIONS = st.builds(KhoScratch, U64, U64) | st.builds(
    KhoScratch, st.integers(0, 1 << 42).map(lambda unit: unit << 22), U64.map(lambda size: size >> 22 << 22)
)


@given(region=REGIONS)
@FEW
def test_a_scratch_region_may_be_anything(told, region):
    """What no kernel sets aside is found; what reaches past the end of the address space, by each command."""
    with mutated(told, TABLE, KHO_SCRATCH.build(region)) as path:
        found = {diagnosis.finding.rule for diagnosis in checked(path).diagnoses}
        if region.wraps:
            assert "scratch-wraps" in found
        elif region.size and (region.addr | region.size) % (4 << 20):
            assert "scratch-misaligned" in found
        over = region.addr < LOGS + 0x4000 and region.addr + region.size > LOGS
        assert "scratch-overlap" in found or region.wraps or not over
        for command in COMMANDS:
            ran = run(command, path)
            assert ran.status in (0, 1, 4)
            assert not region.wraps or "scratch-wraps" in ran.screen
        assert run("lookup", path, hex(LOGS), str(region.addr)).status == (4 if region.wraps else 0)


@given(name=NAMES)
@FEW
def test_a_region_may_have_any_name_that_the_command_line_gives(name):
    text = name.decode("utf-8", "surrogateescape")
    built = build_handover(Description(subtrees={"memblock": Memblock((Region(text, LOGS, 0x1000),))}))
    built.image.write(LOGS, b"what it holds".ljust(0x1000, b"\0"))
    with mutated(built, LOGS, b"W") as path:
        assert not checked(path).diagnoses
        told = run("subtrees", path, "--format", "tsv").stdout
        assert f'region "{spelled(text)}"' in told
        assert run("extract", path, "--reserve-mem", spelled(text)).stdout.startswith("What it holds")


@given(name=st.binary(min_size=1, max_size=63).filter(lambda name: b"\0" not in name))
@FEW
def test_a_session_can_be_typed_as_it_is_shown(name):
    luo = Luo((Session(name, (LuoFile(1, Memfd(folios_of({0: b"content"}), 7)),)), Session("other")))
    built = build_handover(Description(subtrees={"LUO": luo}))
    with mutated(built, built.places["LUO/flbs"][0], u64(1)) as path:
        shown = run("sessions", path, "--format", "tsv").stdout.splitlines()[1].split("\t")[0]
        assert run("sessions", path, "--session", shown, "--format", "tsv").stdout.count("\n") == 2
        assert run("extract", path, "--memfd", f"{shown}/1").stdout == "content"
        told = json.loads(run("check", path, "--format", "json").stdout)
        assert told["errors"] == 0


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=6), unique=True))
def test_no_two_names_are_shown_alike(names):
    shown = [spelled(name) for name in names]
    assert len(set(shown)) == len(names)
    assert all(meant(text, names) in names for text in shown)
