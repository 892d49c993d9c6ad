"""Where a bad entry stands is where it was put, in memory and in the file; and `lookup` leads there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from khodump.checking.checkup import Diagnosis
from khodump.checking.rule import Effect
from khodump.fdt import parse_fdt
from tests.builders.users import KhoTest
from tests.checking.rules import claims, map, scratch  # noqa: A004, F401 - they fill BREAKS
from tests.checking.rules.breaking import BREAKS, Break, bit_of, handed_over
from tests.transcript import run

POINTERS = ["map-pointer-unaligned", "map-pointer-outside-memory", "map-node-unreadable", "map-node-shared"]
CASES = [
    pytest.param(name, build, id=f"{name}: {build.__name__}") for name, build in BREAKS if name in POINTERS
]


@pytest.mark.parametrize(("name", "build"), CASES)
def test_the_entry_that_was_broken_is_named(name, build, tmp_path):
    broken = build()
    checkup = broken.examined(tmp_path, broken=True)
    (stands,) = [each.stands for each in checkup.diagnoses if each.finding.rule == name]
    match = re.search(
        r"slot (\d+) of the table at (0x\w+), at (0x\w+), which holds (0x\w+); (.*) at offset (0x\w+)$",
        str(stands or ""),
    )
    if match is None:  # of the older maps, and of what the root FDT itself points to, the address is told
        assert stands is None or " at offset 0x" in str(stands)
        return
    slot, table, address, value = int(match[1]), *(int(match[number], 16) for number in (2, 3, 4))
    assert address == table + 8 * slot
    if name != "map-node-shared":  # the second of the two pointers is told, whichever was broken
        assert address <= broken.at < address + 8
    data = (tmp_path / "core").read_bytes()
    offset = int(match[6], 16)
    assert int.from_bytes(data[offset : offset + 8], "little") == value


OF_SCRATCH = [
    pytest.param(name, build, id=f"{name}: {build.__name__}")
    for name, build in BREAKS
    if name.startswith("scratch-")
]


@pytest.mark.parametrize(("name", "build"), OF_SCRATCH)
def test_the_entry_of_the_scratch_table_is_named(name, build, tmp_path):
    broken = build()
    checkup = broken.examined(tmp_path, broken=True)
    (diagnosis,) = [each for each in checkup.diagnoses if each.finding.rule == name]
    match = re.match(
        r"(addr|size) of entry (\d) of the scratch table, at (0x\w+), which", str(diagnosis.stands)
    )
    assert match is not None
    address = int(match[3], 16)
    assert address == scratch.TABLE + 16 * int(match[2]) + (8 if match[1] == "size" else 0)
    assert address < broken.at + len(broken.data)
    assert broken.at < address + 8
    assert held_by_file(diagnosis, tmp_path / "core") == held(diagnosis)


def held(diagnosis: Diagnosis) -> int:
    """The value in the bad entry, as it is told."""
    assert diagnosis.stands is not None
    assert diagnosis.stands.value is not None
    return diagnosis.stands.value


def held_by_file(diagnosis: Diagnosis, core: Path) -> int:
    """The value that the image has where the entry is said to stand in it."""
    assert diagnosis.stands is not None
    offset = diagnosis.stands.offset
    assert offset is not None
    return int.from_bytes(core.read_bytes()[offset : offset + 8], "little")


@pytest.mark.parametrize("inline", [True, False], ids=["in the FDT", "in a vmalloc area"])
@pytest.mark.parametrize("row", range(3))
def test_the_entry_of_a_folio_of_kho_test_is_named(row, inline, tmp_path):
    orders = (0, 2, 1)
    built = handed_over({"kho_test": KhoTest(orders, inline)})
    phys = built.places["kho_test/folios"][row]
    broken = Break(built, *bit_of(built, phys, orders[row]), Effect.UNJUDGED, "")
    checkup = broken.examined(tmp_path, broken=True)
    (diagnosis,) = [each for each in checkup.diagnoses if each.finding.rule == "claim-not-preserved"]
    assert f"entry {row} of the " in str(diagnosis.stands)
    assert held(diagnosis) == phys | orders[row]
    assert held_by_file(diagnosis, tmp_path / "core") == phys | orders[row]


@pytest.mark.parametrize(
    ("prop", "data"), [("nr_folios", b"\7"), ("magic", b"?"), ("compatible", b"kho-test-v2")]
)
def test_the_property_of_kho_test_that_is_wrong_is_named(prop, data, tmp_path):
    built = handed_over({"kho_test": KhoTest((0, 2, 1), inline=True)})
    blob = built.blobs["kho_test"]
    tree = parse_fdt(built.image.read(blob, 4096))
    places = {**tree.places, **tree.children[0].places}
    checkup = Break(built, blob + places[prop], data, Effect.UNJUDGED, "").examined(tmp_path, broken=True)
    (diagnosis,) = [each for each in checkup.diagnoses if each.finding.rule.startswith("blob-")]
    assert str(diagnosis.stands).startswith(f"property {prop} ")
    assert f"at {blob + places[prop]:#x}" in str(diagnosis.stands)


def test_lookup_leads_to_a_page_of_the_map(tmp_path):
    broken = dict(BREAKS)["map-pointer-outside-memory"]()
    checkup = broken.examined(tmp_path, broken=True)
    (diagnosis,) = [each for each in checkup.diagnoses if each.finding.rule == "map-pointer-outside-memory"]
    match = re.match(r"slot (\d+) of the table at (0x\w+)", str(diagnosis.stands or ""))
    assert match is not None
    said = run(
        "lookup",
        tmp_path / "core",
        "--fdt",
        hex(broken.built.fdt_phys),
        hex(diagnosis.finding.phys or 0),
        "-f",
        "tsv",
    )
    assert f"{match[2]}[{match[1]}] > {diagnosis.finding.phys:#x}" in said.stdout


def test_lookup_names_who_counts_on_what_is_not_preserved(tmp_path):
    broken = claims.part_of_a_region()
    (diagnosis,) = broken.examined(tmp_path, broken=True).diagnoses
    said = run(
        "lookup",
        tmp_path / "core",
        "--fdt",
        hex(broken.built.fdt_phys),
        hex(diagnosis.finding.phys or 0),
        "-f",
        "jsonl",
    )
    assert '"not preserved"' in said.stdout.splitlines()[0]
    assert str(diagnosis.finding.owner or "?").replace('"', '\\"') in said.stdout.splitlines()[0]
