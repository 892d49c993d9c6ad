"""Where a bad entry stands is where it was put, in memory and in the file; and `lookup` leads there."""

from __future__ import annotations

import re

import pytest

from tests.checking.rules import claims, map  # noqa: A004, F401 - they fill BREAKS
from tests.checking.rules.breaking import BREAKS
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
