"""A handover that a kernel of the same memory took over: every command knows it, and none calls it damaged."""

from __future__ import annotations

import json

import pytest

import khodump
from tests.captures import CAPTURES
from tests.transcript import run

IMAGE = CAPTURES["successor"].path
INCOMING, OUTGOING = 0x5B_1000, 0x35A_9000
COMMANDS = {
    "inspect": [],
    "inspect --pages": [],
    "owners": [],
    "sessions": [],
    "subtrees": [],
    "tree": [],
    "map": [],
    "lookup": ["0x40000000"],
}
ACCUSATIONS = ("error:", "damaged", "overwrites", "bad pointers", "problems")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_calls_the_incoming_one_damaged(command):
    ran = run(*command.split(), IMAGE, *COMMANDS[command], "--fdt", hex(INCOMING))
    assert not [word for word in ACCUSATIONS if word in ran.stderr + ran.stdout]
    assert "took the handover over at boot and gave its map back" in ran.stderr
    assert f"its own root FDT is at {OUTGOING:#x}" in ran.stderr
    assert ran.status == 4, "what the map listed is not to be had"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_outgoing_one_is_taken_and_whole(command):
    ran = run(*command.split(), IMAGE, *COMMANDS[command])
    assert ran.status == 0, ran.stderr
    assert f"took the root FDT at {OUTGOING:#x}" in ran.stderr
    assert "given back" not in ran.stderr


def test_check_speaks_against_nobody():
    ran = run("check", IMAGE, "--fdt", hex(INCOMING))
    assert ran.status == 0
    assert "nothing here speaks against it" in ran.stdout
    assert "damaged" not in ran.stdout


def test_scan_says_who_took_it_over():
    rows = json.loads(run("scan", IMAGE, "--format", "json").stdout)["candidates"]
    assert [row["phys"] for row in rows] == [OUTGOING, INCOMING]
    assert rows[0]["remarks"] is None
    assert rows[1]["remarks"].startswith(
        f"taken over at boot by the kernel whose root FDT is at {OUTGOING:#x}"
    )


def test_what_is_left_of_it_can_be_had(tmp_path):
    fdt = ("--fdt", hex(INCOMING))
    assert run("extract", IMAGE, *fdt, "--blob", "memblock", "-o", tmp_path / "blob").status == 0
    lost = run("extract", IMAGE, *fdt, "--memfd", "vm/1", "-o", tmp_path / "memfd")
    assert lost.status == 4
    assert "is not to be had: the kernel that runs in this image" in lost.stderr
    slim = run("slim", IMAGE, *fdt, "-o", tmp_path / "slim")
    assert slim.status == 4
    errors = [line for line in slim.stderr.splitlines() if "error:" in line]
    assert all("slim-left-out" in line and "were used again" in line for line in errors)
    assert "given back when the handover was taken over: KHO/map, LUO" in slim.stderr


def test_a_diff_with_it_is_in_doubt_and_says_why():
    ran = run("diff", IMAGE, IMAGE, "--fdt-old", hex(INCOMING), "--fdt-new", hex(INCOMING))
    assert ran.status == 2, "in doubt"
    assert "error:" not in ran.stderr
    assert ran.stderr.count("gave its map back") == 2


def test_a_report_on_it_accuses_nobody(tmp_path):
    assert run("report", IMAGE, "--fdt", hex(INCOMING), "-o", tmp_path / "report.html").status == 0
    html = (tmp_path / "report.html").read_text()
    assert "nothing here speaks against it" in html
    assert "What the map listed is not to be had." in html


def test_the_file_that_debugfs_shows_leads_to_the_same():
    with khodump.open(IMAGE, fdt=IMAGE.parent / "kho-in.dtb") as handover:
        assert handover.successor is not None
        assert handover.successor.fdt == OUTGOING
        assert handover.is_map_gone


def test_a_handover_before_the_jump_has_no_successor():
    with khodump.open(CAPTURES["luo-memfd serialized"].path) as handover:
        assert handover.successor is None
        assert not handover.is_map_gone
