"""How commands behave around their data: pipes, interrupts, colours, files."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.builders.fdt import u64
from tests.builders.handover import Description, build_handover
from tests.captures import CAPTURES
from tests.screen import KHODUMP, on_a_terminal
from tests.transcript import run

IMAGE = CAPTURES["luo-memfd serialized"].path
#: More than a pipe holds, so that the writer is still at it when the reader goes away.
LONG = [*KHODUMP, "inspect", str(IMAGE), "--pages", "--format", "jsonl"]


def test_a_reader_that_has_seen_enough_is_no_error():
    with subprocess.Popen(LONG, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["order"] == 0
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


def test_an_interrupt_ends_with_130():
    with subprocess.Popen(LONG, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "khodump: interrupted"


def test_a_full_disk_is_said():
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = subprocess.run(LONG, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_output_goes_to_a_file(tmp_path):
    path = tmp_path / "rows.tsv"
    ran = run("inspect", IMAGE, "--format", "tsv", "--output", path)
    assert (ran.status, ran.stdout) == (0, "")
    assert path.read_text() == run("inspect", IMAGE, "--format", "tsv").stdout


def test_quiet_leaves_stderr_to_errors():
    assert run("inspect", IMAGE, "-q").stderr == ""
    assert run("inspect", "no-such-file", "-q").stderr != ""


@pytest.mark.parametrize(
    ("when", "no_color", "colored"),
    [("auto", False, False), ("always", False, True), ("always", True, True), ("never", False, False)],
)
def test_colour_is_for_terminals_unless_told(monkeypatch, when, no_color, colored):
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    ran = run("inspect", IMAGE, "--order", "9", "--color", when)
    assert ("\x1b[" in ran.stdout) == colored


def test_no_color_is_honoured_on_a_terminal():
    assert "\x1b[1m" in on_a_terminal("inspect", IMAGE, "--order", "9", "-q", NO_COLOR="")
    assert "\x1b[" not in on_a_terminal("inspect", IMAGE, "--order", "9", "-q", NO_COLOR="1")


def test_findings_are_cut_unless_verbose(tmp_path):
    built = build_handover(
        Description(preservations=tuple((1 << 45 | i << 27, 0) for i in range(1, 600, 29)))
    )
    for (level, _), phys in built.tree.nodes.items():
        if level == 1:
            built.image.write(phys + 8 * 511, u64(3))
    for phys in built.tree.leaves():
        built.image.drop(phys)
    image = built.image.to_elf(tmp_path / "core")
    short, full = (
        run("inspect", image, "--fdt", hex(built.fdt_phys), *extra).stderr for extra in ([], ["-v"])
    )
    assert "more findings: -v shows all" in short
    assert full.count("map-node-unreadable") > short.count("map-node-unreadable") > 0
