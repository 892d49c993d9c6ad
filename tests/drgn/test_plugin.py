"""`%kho` at drgn's prompt says what khodump says."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

pytest.importorskip("drgn", reason="drgn has no wheel for this machine")

import drgn.commands
from drgn.commands import CommandError, run_command

import khodump.drgn.plugin
from khodump.abi.kexec_handover import KhoScratch
from tests.builders.handover import Description, build_handover
from tests.captures import CAPTURES
from tests.drgn import kernel
from tests.transcript import ROOT, run

IMAGES = {
    "luo-memfd": CAPTURES["luo-memfd serialized"].path,
    "kho-test": CAPTURES["kho-test serialized"].path,
    "fail-compat": CAPTURES["fail-compat next-out"].path,
}
COMMANDS = [
    "inspect",
    "inspect --pages",
    "inspect --owners",
    "inspect --order 0 --range 1M-2M",
    "check",
    "check --next 7.1",
    "owners",
    "sessions",
    "lookup 0x4cd000 0x4022c000",
]


def unconfirmed(text: str, form: str) -> list[dict[str, Any]]:
    """The rows, without the command that confirms a finding: %kho has fewer, and no image to name."""
    lines = text.splitlines()
    rows = map(json.loads, lines) if form == "jsonl" else csv.DictReader(lines)
    return [{name: cell for name, cell in row.items() if name not in ("confirm", "shows")} for row in rows]


def test_commands_that_confirm_are_its_own(capsys):
    run_command(kernel.of_core(IMAGES["kho-test"]), "kho check --next 7.1 --format jsonl -q --fdt 0x4cd000")
    commands = [json.loads(line)["confirm"] for line in capsys.readouterr().out.splitlines()]
    assert commands == ["%kho lookup 0x4cd04c --fdt 0x4cd000", "%kho sessions --fdt 0x4cd000"]
    run_command(kernel.of_core(IMAGES["kho-test"]), commands[0].removeprefix("%"))
    assert "kho-v4" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
def test_it_prints_the_rows_that_khodump_prints(image, command, form, capsys):
    first, *rest = command.split()
    own = run(first, image, *rest, "--format", form, "-q")
    status = run_command(kernel.of_core(image), f"kho {command} --format {form} -q")
    said = capsys.readouterr().out
    assert (unconfirmed(said, form), status) == (unconfirmed(own.stdout, form), own.status)


def test_tables_differ_in_the_name_of_the_image_alone(capsys):
    image = IMAGES["kho-test"]
    run_command(kernel.of_core(image), "kho inspect -q")
    through = re.sub(r"\(through drgn\)", "(ELF64 core, x86_64)", capsys.readouterr().out)
    assert through == run("inspect", image, "-q").stdout


def test_what_the_kernel_says_is_told(tmp_path, capsys):
    built = build_handover(Description())
    statics = kernel.write_statics(built.image, fdt=built.fdt_phys)
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), kernel.variables(statics))
    run_command(program, "kho inspect")
    said = capsys.readouterr()
    assert f"khodump: took the root FDT at {built.fdt_phys:#x}, from kho_out.fdt" in said.err
    assert "fdt source        kho_out.fdt" in said.out
    run_command(program, "kho inspect --search")
    assert "found by searching the image" in capsys.readouterr().out
    with pytest.raises(CommandError, match=r"kho_in.fdt_phys is 0.*\n  hint: it was not booted through KHO"):
        run_command(program, "kho inspect --in")


def test_check_knows_the_scratch_regions(tmp_path, capsys):
    built = build_handover(Description(preservations=((0x90_0000, 0),)))
    scratch = (KhoScratch(0x80_0000, 0x40_0000),)
    statics = kernel.write_statics(built.image, fdt=built.fdt_phys, scratch=scratch)
    program = kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), kernel.variables(statics))
    assert run_command(program, "kho check --format csv -q") == 1
    assert "scratch-overlap,0x900000" in capsys.readouterr().out


def test_a_stdout_of_text_alone_will_do():
    program = kernel.of_core(IMAGES["kho-test"])
    with contextlib.redirect_stdout(io.StringIO()) as notebook:
        run_command(program, "kho inspect -q --format csv")
    assert notebook.getvalue() == run("inspect", IMAGES["kho-test"], "-q", "--format", "csv").stdout


def test_pipes_and_files_are_those_of_drgn(tmp_path, capfd):
    program = kernel.of_core(IMAGES["luo-memfd"])
    run_command(program, "kho inspect -q --pages --format tsv | head -1")
    assert capfd.readouterr().out == "phys\torder\n"
    run_command(program, f"kho inspect -q --format tsv > {tmp_path / 'rows'}")
    assert (tmp_path / "rows").read_text() == run("inspect", IMAGES["luo-memfd"], "-f", "tsv", "-q").stdout
    assert not sys.stdout.closed
    assert not sys.stderr.closed


def test_a_bad_request_is_drgns_error_and_ends_nothing(capsys):
    program = kernel.of_core(IMAGES["kho-test"])
    with pytest.raises(CommandError, match="no kernel has pages of 5 bytes\n  hint: the page size is 4K"):
        run_command(program, "kho inspect --page-size 5")
    hook = sys.excepthook
    assert run_command(program, "kho no-such-command") == 2
    assert "No such command" in capsys.readouterr().err
    assert run_command(program, "kho check --help") == 0
    assert sys.excepthook is hook


def test_a_userspace_program_has_no_such_command():
    program = drgn.Program()
    program.set_pid(os.getpid())
    assert "kho" not in dict(drgn.commands.DEFAULT_COMMAND_NAMESPACE.enabled(program))
    assert "kho" in dict(drgn.commands.DEFAULT_COMMAND_NAMESPACE.enabled(kernel.of_core(IMAGES["kho-test"])))


def test_drgn_finds_the_plugin_by_its_entry_point():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    plugin = told["project"]["entry-points"]["drgn.plugins"]["khodump"]
    assert plugin == khodump.drgn.plugin.__name__


def drgn_prints(code: str) -> str:
    """What drgn prints of the kho-test capture, as a process of its own."""
    command = [
        sys.executable,
        "-m",
        "drgn",
        "-q",
        "--no-default-symbols",
        "-c",
        str(IMAGES["kho-test"]),
        "-e",
        code,
    ]
    environment = {**os.environ, "DRGN_PLUGINS": "khodump=khodump.drgn.plugin"}
    return subprocess.check_output(command, text=True, env=environment, cwd=ROOT)


def test_drgn_itself_has_the_command_and_starts_without_the_rest_of_khodump():
    code = "import sys; print(sorted(name for name in sys.modules if name.startswith('khodump')))"
    assert drgn_prints(code) == "['khodump', 'khodump.drgn', 'khodump.drgn.plugin']\n"
    code = "from drgn.commands import run_command; run_command(prog, 'kho inspect -q --format csv')"
    assert drgn_prints(code) == run("inspect", IMAGES["kho-test"], "-q", "--format", "csv").stdout
