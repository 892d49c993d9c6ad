"""Runs that are ended from outside leave nothing half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builders.handover import Description, build_handover

#: Runs khodump, but what copies takes its time.
CHILD = """
import time
import khodump.extraction.copying as copying, khodump.extraction.slim as slim
from khodump.cli import main
def slow(*_):
    while True:
        time.sleep(0.05)
copying._Writer.write = slow
slim.Slim.write = slow
main()
"""


@pytest.fixture
def image(tmp_path) -> Path:
    return build_handover(Description(subtrees={"x": b"blob"})).image.to_elf(tmp_path / "image")


def began(directory: Path) -> bool:
    return any(path.name.startswith(".khodump-") for path in directory.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("arguments", [("slim",), ("extract", "--blob", "x")])
@pytest.mark.parametrize("taken", [False, True])
def test_nothing_is_left_of_a_file_that_was_being_written(number, arguments, taken, image, tmp_path):
    out = tmp_path / "out"
    if taken:
        out.write_bytes(b"precious")
    force = ["--force"] if taken else []
    command = [sys.executable, "-c", CHILD, *arguments, str(image), "--output", str(out), *force]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while not began(tmp_path) and time.monotonic() < until:
            time.sleep(0.01)
        assert began(tmp_path)
        time.sleep(0.1)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == b"khodump: interrupted"
    assert sorted(tmp_path.iterdir()) == [image, *([out] if taken else [])]
    assert not taken or out.read_bytes() == b"precious"


def test_a_run_under_nohup_goes_on(image):
    command = f"trap '' HUP; exec {sys.executable} -c 'import signal, khodump.cli.interrupts as s; s.leave_tidily(); "
    command += "print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)'"
    assert subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True).stdout == b"True\n"
    assert image.exists()
