"""A map that fits several page sizes, and in none of them the root FDT's own page: nothing is listed by such a guess."""

from __future__ import annotations

import json

import pytest

from tests.builders.handover import Description, build_handover
from tests.builders.users import Memblock, ReserveMem
from tests.transcript import run

TRACE = 0x4000_0000


@pytest.fixture
def image(tmp_path):
    """A tree of 64 KiB pages, of which the first 16 KiB of each are sound, too, on a machine that may have both."""
    built = build_handover(
        Description(
            compatible="kho-v2",
            page_size=65536,
            preservations=((0x1_0000_0000, 10),),
            kexec_count=None,
            subtrees={"memblock": Memblock((ReserveMem("trace", TRACE, 0x10000),))},
        )
    )
    leaf = built.tree.nodes[0, built.geometry.encode(built.fdt_phys, 0) >> built.geometry.leaf_bits]
    bit = built.geometry.encode(built.fdt_phys, 0) & ((1 << built.geometry.leaf_bits) - 1)
    at = leaf + bit // 8
    (byte,) = built.image.read(at, 1)
    built.image.write(at, bytes([byte & ~(1 << bit % 8)]))
    return built.image.to_elf(tmp_path / "core", machine="EM_AARCH64")


def test_a_guess_that_nothing_bears_out_lists_nothing(image):
    ran = run("inspect", image, "--pages", "--format", "json")
    told = json.loads(ran.stdout)
    assert ran.status == 4
    assert (told["pages"], told["preservations"], told["preserved"]) == ([], None, None)
    assert "is not listed" in told["summary"]
    (finding,) = [each for each in told["findings"] if each["rule"] == "reading-in-doubt"]
    assert "--page-size" in finding["message"]


@pytest.mark.parametrize("options", [("--sort", "walk"), ("--owners",)])
def test_no_way_of_listing_does(image, options):
    ran = run("inspect", image, *options, "--format", "tsv")
    assert (ran.status, len(ran.stdout.splitlines())) == (4, 1)


def test_the_page_size_lists_it(image):
    ran = run("inspect", image, "--pages", "--page-size", "64K", "--format", "tsv")
    assert ran.status == 4, "the root FDT's own page is still missing"
    assert "0x100000000" in ran.stdout or "4294967296" in ran.stdout


def test_no_command_takes_it_for_empty(image):
    owners = json.loads(run("owners", image, "--format", "json").stdout)
    assert {owners[name] for name in ("preserved", "claimed", "claimed_but_not_preserved")} == {None}
    assert {row["not_preserved"] for row in owners["owners"]} == {None}
    (row,) = json.loads(run("lookup", image, hex(TRACE), "--format", "json").stdout)["addresses"]
    assert row["state"] == "unknown"
    assert "claimed, not preserved" not in run("map", image, "--by", "owner").stdout
    assert "cannot be told" in run("check", image).stdout
    diff = run("diff", image, image, "--format", "json")
    assert json.loads(diff.stdout)["old_preserved"] is None
    for name in ("check", "owners", "sessions", "subtrees", "tree", "map"):
        assert run(name, image).status == 4, name
