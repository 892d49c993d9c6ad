"""Interrupts at any moment of a run: status 130 and at most a line, never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.transcript import run

COMMAND = [
    sys.executable,
    "-X",
    "importtime",
    "-m",
    "khodump",
    "inspect",
    "samples/synthetic/mem.img",
    "-f",
    "tsv",
]
#: Modules behind whose import the signal comes: from the first behind our handler. What Python does before it runs a line of ours is not ours to guard.
MODULES = [
    "khodump.cli.interrupts",
    "khodump.errors",
    "typer",
    "khodump.cli.help",
    "khodump.cli.application",
    "khodump.cli.terminal",
    "khodump.cli.commands.inspect",
    "numpy._core.multiarray",
    "numpy._core",
    "numpy",
    "construct",
    "khodump.api",
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", MODULES)
def test_an_interrupt_while_modules_are_imported(module, number):
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == module:
                break
        process.send_signal(number)
        rest = [line for line in process.stderr.read().splitlines() if not line.startswith("import time:")]
    assert process.returncode in (130, 0)  # 0 where the signal came too late
    assert rest in ([], ["khodump: interrupted"]) or process.returncode == 0
    assert not any("Traceback" in line for line in rest)


def test_what_a_memory_error_is(monkeypatch):
    def swell(*_, **__):
        return np.zeros(1 << 60, np.uint8)

    monkeypatch.setattr("khodump.tables.key.decode", swell)
    monkeypatch.setattr("khodump.cli.command._silence_stdout", lambda: None)
    ran = run("key", "0x10000000000103")
    assert ran.status == 2
    assert "there is not enough memory for this: Unable to allocate 1.00 EiB" in ran.stderr
