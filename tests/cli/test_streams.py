"""Outputs that fail, whichever they are: a message where one can be written, a documented status, and no traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.captures import CAPTURES
from tests.transcript import run

IMAGE = str(CAPTURES["kho-test serialized"].path)
COMMANDS = {
    "inspect": ["inspect", IMAGE],
    "check": ["check", IMAGE, "--format", "json"],
    "extract": ["extract", IMAGE, "--blob", "kho_test"],
    "help": ["--help"],
}
each_command = pytest.mark.parametrize("name", COMMANDS)


def shell(name: str, redirections: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command with its streams as a shell makes them."""
    line = shlex.join([sys.executable, "-m", "khodump", *COMMANDS[name]])
    return subprocess.run(["/bin/sh", "-c", f"{line} {redirections}"], capture_output=True, check=False)


@each_command
def test_a_full_disk_under_stdout(name):
    ran = shell(name, "> /dev/full")
    assert ran.returncode == 2
    assert b"khodump: cannot write the output: No space left on device" in ran.stderr
    assert b"Traceback" not in ran.stderr


@each_command
def test_a_full_disk_under_stderr_costs_the_messages_alone(name):
    ran = shell(name, "2> /dev/full")
    assert ran.returncode == 0
    assert ran.stdout == shell(name, "2> /dev/null").stdout


def test_a_full_disk_under_both():
    assert shell("inspect", "> /dev/full 2>&1").returncode == 2


@each_command
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_as_if_they_led_nowhere(name, closed):
    ran = shell(name, closed)
    assert (ran.returncode, b"Traceback" in ran.stderr) == (0, False)


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path):
    """With stderr closed, the next file to be opened would be descriptor 2, and get the messages."""
    line = shlex.join([sys.executable, "-m", "khodump", *COMMANDS["extract"], "-o", str(tmp_path / "out")])
    subprocess.run(["/bin/sh", "-c", f"{line} <&- >&- 2>&-"], check=True)
    assert (tmp_path / "out").read_bytes().startswith(b"\xd0\x0d\xfe\xed")
    assert b"khodump" not in (tmp_path / "out").read_bytes()


@each_command
def test_a_reader_that_is_gone_before_it_begins(name):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "khodump", *COMMANDS[name]]
    ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert ran.returncode in (0, 1)
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", ["inspect", "check", "scan", "owners", "sessions", "subtrees"])
@pytest.mark.parametrize("base", ["", "@0x1000"])
def test_rows_never_go_where_the_image_is(command, base, tmp_path):
    image = tmp_path / "image"
    data = Path(IMAGE).read_bytes()
    image.write_bytes(data)
    (tmp_path / "link").symlink_to(image)
    ran = run(command, f"{image}{base}", "--output", tmp_path / "link")
    assert ran.status == 2
    assert "is read by this command" in ran.stderr
    assert image.read_bytes() == data
