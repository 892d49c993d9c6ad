"""`khodump tree`: readable for people whatever the size, complete for machines."""

from __future__ import annotations

import json
import re

import pytest

from khodump.picture.branches import ASCII, UNICODE, joints_of
from tests.builders.dense import RUNS_A_LEAF, build_dense
from tests.builders.handover import Description, MapFormat, build_handover
from tests.captures import CAPTURES, HISTORIC
from tests.transcript import run

EVERY = {**CAPTURES, **HISTORIC}
IMAGE = CAPTURES["luo-memfd serialized"].path


def rows_of(*arguments) -> list[dict[str, object]]:
    return [
        json.loads(line) for line in run("tree", *arguments, "--format", "jsonl", "-q").stdout.splitlines()
    ]


@pytest.mark.parametrize("name", EVERY)
def test_every_node_of_a_capture_is_a_line_and_a_row(name):
    version = ["--as", "kho-v4"] if name.startswith("fail") else []
    rows = rows_of(EVERY[name].path, *version)
    lines = run("tree", EVERY[name].path, *version, "-q").stdout.splitlines()
    assert len(lines) == 1 + len(rows)
    for line, row in zip(lines[1:], rows, strict=True):
        assert re.search(rf"\b{row['phys']:#x}\b", line)  # in the same order
    tops = sum(int(str(row["preservations"])) for row in rows if row["parent"] is None)
    assert tops == len(EVERY[name].blocks())


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return build_dense(300, spacing=1 << 27).image.to_raw(tmp_path_factory.mktemp("dense") / "mem.img")


def test_long_lists_of_siblings_are_left_out_but_counted(dense):
    lines = run("tree", dense, "-q").stdout.splitlines()
    assert len(lines) < 160
    more = [
        re.search(r"… (\d+) more leaves with (\d+) preservations \(--level 0 lists them\)", line)
        for line in lines
    ]
    hidden = [(int(found[1]), int(found[2])) for found in more if found]
    shown = sum(" 128 MiB" in line for line in lines)
    assert shown + sum(count for count, _ in hidden) == 301
    assert all(count * RUNS_A_LEAF == preserved for count, preserved in hidden)


def test_machines_get_every_node(dense):
    rows = rows_of(dense)
    assert sum(row["level"] == 0 for row in rows) == 301
    assert len(run("tree", dense, "--level", 0, "-q").stdout.splitlines()) == 5 + 1 + 1 + 301


def test_depth_and_level_choose():
    rows = rows_of(IMAGE)
    assert rows_of(IMAGE, "--level", 1) == [row for row in rows if row["level"] == 1]
    assert [row["level"] for row in rows_of(IMAGE, "--depth", 0)] == [5]
    assert {row["level"] for row in rows_of(IMAGE, "--depth", 2)} == {5, 4, 3}


def test_path_shows_the_ways_to_an_address_and_nothing_else():
    rows = rows_of(IMAGE, "--path", "0x4022c123")
    leaves = [row for row in rows if row["level"] == 0]
    assert [row["bits"] for row in leaves if "bit 556 set" in str(row["bits"])] == ["order 0: bit 556 set"]
    assert sum("not set" in str(row["bits"]) for row in leaves) == len(leaves) - 1
    parents = {row["parent"] for row in rows}
    assert all(row["phys"] in parents for row in rows if row["level"])
    ran = run("tree", IMAGE, "--path", "0x4022c123")
    assert "leaves that stand for 0x4022c123: 9; it is preserved at order 0" in ran.stderr


@pytest.mark.parametrize("name", HISTORIC)
def test_path_in_older_maps(name):
    capture = HISTORIC[name]
    ran = run("tree", capture.path, "--path", hex(capture.fdt_phys))
    assert "it is preserved at order 0" in ran.stderr
    assert ran.stdout.splitlines()[-1].count(" set") <= 1


def test_an_address_that_no_leaf_stands_for():
    ran = run("tree", HISTORIC["v1a"].path, "--path", "0x1000000000000")
    assert "leaves that stand for 0x1000000000000: 0; it is not preserved" in ran.stderr
    assert len(ran.stdout.splitlines()) == 1


@pytest.mark.parametrize("map_format", MapFormat)
def test_what_is_empty_or_unreadable_is_marked(tmp_path, map_format):
    version = "kho-v4" if map_format is MapFormat.RADIX else "kho-v1"
    described = Description(
        compatible=version,
        map_format=map_format,
        kexec_count=None,
        preservations=((0x4000_0000, 0), (0x40_0000_0000, 0)),
        empties=((0x80_0000_0000, 0),),
    )
    built = build_handover(described)
    whole = built.image.to_raw(tmp_path / "whole")
    leaf = next(
        row["phys"] for row in rows_of(whole) if row["level"] == 0 and int(str(row["to"])) > 0x40_0000_0000
    )
    built.image.drop(int(str(leaf)))
    image = built.image.to_elf(tmp_path / "core")
    ran = run("tree", image, *(["--fdt", hex(built.fdt_phys)]))
    assert ran.status == 4
    assert "unreadable: not in the dump" in ran.stdout
    assert sum(line.endswith("empty") for line in ran.stdout.splitlines()) == 1
    rows = rows_of(image, "--fdt", hex(built.fdt_phys))
    assert [row["why"] for row in rows if row["state"] == "unreadable"] == ["not in the dump"]
    assert sum(row["state"] == "empty" for row in rows) == 1


def test_ascii_where_the_encoding_has_no_more():
    assert joints_of("utf-8") is UNICODE
    assert joints_of("ascii") is joints_of(None) is ASCII


@pytest.mark.parametrize("map_format", MapFormat)
def test_a_map_whose_root_is_missing_leaves_everything_open(tmp_path, map_format):
    version = "kho-v4" if map_format is MapFormat.RADIX else "kho-v1"
    built = build_handover(Description(compatible=version, map_format=map_format, kexec_count=None))
    built.image.drop(built.tree.root)
    ran = run("tree", built.image.to_elf(tmp_path / "core"), "--fdt", hex(built.fdt_phys), "--path", 0)
    assert ran.status == 4
    assert [line.split("  ")[0] for line in ran.stdout.splitlines()[1:]]
    assert "unreadable: not in the dump" in ran.stdout
    assert "cannot be told" in ran.stderr
