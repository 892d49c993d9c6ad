"""`khodump diff`: statuses, formats, sides, and damage that must not pass for absence."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys

import pytest

from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover
from tests.captures import CAPTURES, SAMPLES
from tests.transcript import Run, run

PRE, SERIALIZED, NEXT = (CAPTURES[f"luo-memfd {name}"].path for name in ("pre", "serialized", "next-out"))
BLOCKS = ((0x4000_0000, 0), (0x4000_1000, 0), (0x8000_0000, 9), (0xC000_0000, 3))


def image(tmp_path, name: str, built: BuiltHandover):
    return built.image.to_elf(tmp_path / name, machine="EM_X86_64")


def compared(tmp_path, old: BuiltHandover, new: BuiltHandover, *arguments: str) -> Run:
    fdts = "--fdt-old", hex(old.fdt_phys), "--fdt-new", hex(new.fdt_phys)
    return run("diff", image(tmp_path, "old", old), image(tmp_path, "new", new), *fdts, *arguments)


def rows(ran: Run) -> list[tuple[str, int, str, str, int]]:
    """(change, phys, old order, new order, size)."""
    found = csv.DictReader(io.StringIO(ran.stdout), delimiter="\t")
    return [
        (row["change"], int(row["phys"], 16), row["old order"], row["new order"], int(row["size"]))
        for row in found
    ]


def built(*blocks, **what) -> BuiltHandover:
    return build_handover(Description(preservations=blocks or BLOCKS, **what))


def test_serialization_changes_no_page_but_the_meaning():
    ran = run("diff", PRE, SERIALIZED)
    assert ran.status == 1
    assert "maps are equal" in ran.stderr
    assert "61 sessions became serialized" in ran.stderr
    assert ran.stdout.endswith("\nthe maps are equal\n")
    assert run("diff", PRE, SERIALIZED, "--format", "tsv").stdout.count("\n") == 1


def test_a_handover_equals_itself_in_another_format():
    ran = run("diff", SERIALIZED, SERIALIZED.with_suffix(".kdump-zlib"))
    assert ran.status == 0
    assert "maps are equal" in ran.stderr
    assert "nothing else differs" in ran.stderr


def test_every_format_tells_the_same():
    tsv = rows(run("diff", SERIALIZED, NEXT, "--format", "tsv"))
    told = json.loads(run("diff", SERIALIZED, NEXT, "--format", "json").stdout)
    jsonl = [json.loads(line) for line in run("diff", SERIALIZED, NEXT, "-f", "jsonl").stdout.splitlines()]
    lines = list(csv.DictReader(io.StringIO(run("diff", SERIALIZED, NEXT, "-f", "csv").stdout)))
    assert told["schema"] == "khodump.diff/1"
    assert told["runs"] == jsonl
    assert [(row["change"], row["phys"], row["size"]) for row in jsonl] == [
        (change, phys, size) for change, phys, _, _, size in tsv
    ]
    assert [int(row["phys"], 16) for row in lines] == [phys for _, phys, *_ in tsv]
    for change in ("added", "removed", "reordered", "unknown"):
        assert told[change] == sum(size for word, *_, size in tsv if word == change)
    assert told["same"] == told["new_preserved"] - told["added"] == told["old_preserved"] - told["removed"]


def test_two_fdts_of_one_image(tmp_path):
    one = built()
    other = built((0x5000_0000, 1), metadata_start=1 << 26)
    for start, end in other.image.ranges:
        one.image.write(start, other.image.read(start, end - start))
    both = image(tmp_path, "both", one)
    ran = run(
        "diff", both, both, "--fdt-old", hex(one.fdt_phys), "--fdt-new", hex(other.fdt_phys), "-f", "tsv"
    )
    assert ran.status == 1
    assert ("added", 0x5000_0000, "", "1", 0x2000) in rows(ran)
    assert ("removed", 0x8000_0000, "9", "", 0x20_0000) in rows(ran)


def test_the_same_bytes_at_another_order(tmp_path):
    ran = compared(tmp_path, built((0x4000_0000, 1)), built((0x4000_0000, 0), (0x4000_1000, 0)), "-f", "tsv")
    assert rows(ran) == [("reordered", 0x4000_0000, "1", "0", 0x2000)]
    paged = compared(
        tmp_path, built((0x4000_0000, 1)), built((0x4000_0000, 0), (0x4000_1000, 0)), "-f", "tsv", "--pages"
    )
    assert rows(paged) == [
        ("reordered", 0x4000_0000, "1", "0", 0x1000),
        ("reordered", 0x4000_1000, "1", "0", 0x1000),
    ]


@pytest.mark.parametrize("map_format", MapFormat)
def test_maps_of_different_kinds_and_page_sizes_may_preserve_the_same(map_format, tmp_path):
    older = map_format is not MapFormat.RADIX
    old = built(
        (0x4000_0000, 4),
        (0x8000_0000, 9),
        compatible="kho-v1" if older else "kho-v4",
        map_format=map_format,
        kexec_count=None,
    )
    new = built((0x4000_0000, 2), (0x8000_0000, 7), page_size=16384, kexec_count=None)
    paths = old.image.to_elf(tmp_path / "old"), new.image.to_elf(tmp_path / "new")
    sides = "--fdt-old", hex(old.fdt_phys), "--fdt-new", hex(new.fdt_phys)
    ran = run("diff", *paths, *sides, "--page-size-old", "4K", "--page-size-new", "16K", "-f", "tsv")
    assert ran.status == 1
    assert "page size changed" in ran.stderr
    assert all(phys < 0x4000_0000 for _, phys, *_ in rows(ran))  # the FDT's pages, 4 KiB and 16 KiB


def lost_leaf(of: BuiltHandover, block: tuple[int, int]) -> None:
    """Take the leaf that holds `block` out of the image."""
    of.image.drop(of.tree.nodes[0, of.geometry.encode(*block) >> of.geometry.key_shift(0)])


@pytest.mark.parametrize("damaged", ["old", "new"])
def test_what_could_not_be_read_is_not_absent(damaged, tmp_path):
    old, new = built(), built()
    lost_leaf(old if damaged == "old" else new, (0x8000_0000, 9))
    ran = compared(tmp_path, old, new, "-f", "tsv")
    assert ran.status == 2  # alike as far as one can see
    assert [row[0] for row in rows(ran)] == ["unknown"]
    assert f"{damaged}: nobody can tell whether" in ran.stderr
    assert "unknown, not absent" in ran.stderr
    assert "maps are equal where both could be read" in ran.stderr
    told = json.loads(compared(tmp_path, old, new, "-f", "json").stdout)
    assert {row["unknown"] for row in told["left_open"]} == {damaged}
    assert any(row["phys"] <= 0x8000_0000 < row["end"] and row["order"] == 9 for row in told["left_open"])


def test_a_difference_beside_damage_is_one(tmp_path):
    old, new = built(), built(*BLOCKS[:-1])
    lost_leaf(new, (0x8000_0000, 9))
    ran = compared(tmp_path, old, new, "-f", "tsv")
    assert ran.status == 1
    assert {row[0] for row in rows(ran)} == {"unknown", "removed"}


def test_equal_maps_both_damaged_alike_are_in_doubt(tmp_path):
    old, new = built(), built()
    lost_leaf(old, (0x8000_0000, 9))
    lost_leaf(new, (0x8000_0000, 9))
    ran = compared(tmp_path, old, new)
    assert ran.status == 2
    assert ran.stdout.endswith("the maps are equal where both could be read\n")


def test_a_pointer_that_was_not_followed_leaves_open_what_is_below(tmp_path):
    old, new = built(), built()
    table = old.tree.nodes[1, old.geometry.encode(0x8000_0000, 9) >> old.geometry.key_shift(1)]
    slot = old.geometry.path(old.geometry.encode(0x8000_0000, 9))[0][-1]
    old.image.write(table + 8 * slot, u64(0x123))
    ran = compared(tmp_path, old, new, "-f", "tsv")
    assert [row[0] for row in rows(ran)] == ["unknown"]


def test_a_chain_leaves_open_what_its_lost_bitmaps_cover(tmp_path):
    what = {"compatible": "kho-v1", "map_format": MapFormat.CHAIN, "kexec_count": None}
    old, new = built(**what), built(**what)
    with_block = run(
        "lookup", image(tmp_path, "c", old), hex(0x8000_0000), "--fdt", hex(old.fdt_phys), "-f", "json"
    )
    bitmap = json.loads(with_block.stdout)
    assert bitmap
    nodes = sorted(node for node in old.map_nodes)
    statuses = set()
    for node in nodes[1:]:
        damaged = built(**what)
        damaged.image.drop(node)
        ran = compared(tmp_path, damaged, new, "-f", "tsv")
        statuses.add(ran.status)
        assert {row[0] for row in rows(ran)} <= {"unknown"}
    assert statuses == {2}


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_side_without_a_handover_is_trouble(side, tmp_path):
    empty = tmp_path / "empty.img"
    empty.write_bytes(bytes(1 << 20))
    sides = (f"{empty}@0", PRE) if side == "old" else (PRE, f"{empty}@0")
    ran = run("diff", *sides)
    assert ran.status == 2
    assert f"khodump: {side}: " in ran.stderr


def test_tables_have_signs_and_colours():
    plain = run("diff", SERIALIZED, NEXT, "--color", "never").stdout
    colored = run("diff", SERIALIZED, NEXT, "--color", "always").stdout
    assert "\x1b[" not in plain
    assert any(line.startswith("+ ") for line in plain.splitlines())
    assert any(line.startswith("\x1b[32m+ ") for line in colored.splitlines())
    assert any(line.startswith("\x1b[31m- ") for line in colored.splitlines())
    assert any(line.startswith("\x1b[33m~ ") for line in colored.splitlines())


def test_stat_is_the_summary_alone():
    ran = run("diff", SERIALIZED, NEXT, "--stat", "-f", "json")
    told = json.loads(ran.stdout)
    assert "runs" not in told
    assert sum(row["size"] for row in told["totals"] if row["change"] == "removed") == told["removed"]
    assert {row["count"] for row in told["changes"] if row["what"] == "session"} == {61}
    assert run("diff", SERIALIZED, NEXT, "--stat", "--pages").status == 2


def test_owners_are_those_of_the_side_that_preserves():
    ran = run("diff", SERIALIZED, NEXT, "--owners", "-f", "json")
    told = json.loads(ran.stdout)["runs"]
    for row in told:
        assert (row["old_owner"] is None) == (row["change"] == "added")
        assert (row["new_owner"] is None) == (row["change"] == "removed")
    folios = [row for row in told if row["old_owner"] == 'LUO/session "vm-alpha"/file 0x4 (memfd)/folios']
    assert sum(row["size"] for row in folios) == 1 << 20
    plain = rows(run("diff", SERIALIZED, NEXT, "-f", "tsv"))
    assert sum(row["size"] for row in told) == sum(row[-1] for row in plain)


def test_scratch_regions_are_compared_when_both_are_told():
    home = SAMPLES / "captures" / "luo-memfd"
    same = "--scratch-old", home, "--scratch-new"
    assert run("diff", PRE, PRE, *same, home).status == 0
    other = run("diff", PRE, PRE, *same, SAMPLES / "captures" / "kho-test")
    assert other.status == 1
    assert "scratch regions added" in other.stderr
    assert run("diff", PRE, PRE, "--scratch-old", home).status == 0


def test_hints_name_the_options_of_their_side():
    home = SAMPLES / "captures" / "fail-compat"
    ran = run("diff", home / "next-out.elf", home / "serialized.elf")
    assert ran.status == 2
    assert "--as-new kho-v4 reads it" in ran.stderr
    assert run("diff", home / "next-out.elf", home / "serialized.elf", "--as-new", "kho-v4").status == 1


def test_an_interrupt_ends_with_130():
    command = [sys.executable, "-m", "khodump", "diff", str(SERIALIZED), str(NEXT), "--pages", "-f", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "khodump: interrupted"
