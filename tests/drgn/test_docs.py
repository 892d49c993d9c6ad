"""What docs/drgn.md shows is what happens: `UPDATE_DOCS=1 pytest tests/drgn` writes the outputs anew."""

from __future__ import annotations

import contextlib
import io
import os
import re

import pytest

pytest.importorskip("drgn", reason="drgn has no wheel for this machine")

from drgn import Program
from drgn.commands import run_command

import khodump.drgn.plugin  # noqa: F401 - has the command
from khodump.abi.kexec_handover import KhoScratch
from tests.builders.handover import Description, build_handover
from tests.drgn import kernel
from tests.transcript import ROOT

PAGE = ROOT / "docs" / "drgn.md"
BLOCK = re.compile(r"(?<=```drgn\n)\$ drgn .*?-c (\S+).*?(?=```)", re.DOTALL)
PROMPT = ">>> %"


@pytest.fixture
def vmcore(tmp_path) -> Program:
    """A dump with debug information."""
    built = build_handover(Description(preservations=((0x40_0000, 9), (0x90_0000, 0), (0x90_1000, 0))))
    statics = kernel.write_statics(
        built.image, fdt=built.fdt_phys, scratch=(KhoScratch(0x100_0000, 0x100_0000),)
    )
    return kernel.informed(kernel.vmcore(built, tmp_path / "vmcore"), kernel.variables(statics))


def screen(program: Program, command: str) -> str:
    """What a command prints, stdout and stderr as they come; without where this repository and the dump are."""
    both = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(both), contextlib.redirect_stderr(both):
        run_command(program, command)
    both.seek(0)
    path = program.core_dump_path or ""
    shown = path.removeprefix(f"{ROOT}/") if path.startswith(f"{ROOT}/") else os.path.basename(path)  # noqa: PTH119
    return both.read().replace(path, shown)


def test_shown_output_is_real(vmcore, monkeypatch):
    monkeypatch.chdir(ROOT)

    def replayed(block: re.Match[str]) -> str:
        program = vmcore if block[1] == "vmcore" else kernel.of_core(ROOT / block[1])
        lines = [line for line in block[0].splitlines() if line.startswith(("$ ", PROMPT))]
        outputs = (screen(program, line[len(PROMPT) :]) if PROMPT in line else "" for line in lines)
        return "".join(f"{line}\n{output}" for line, output in zip(lines, outputs, strict=True))

    text = PAGE.read_text(encoding="utf-8")
    now, count = BLOCK.subn(replayed, text)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(now, encoding="utf-8")
    assert count == 2
    assert now == text
