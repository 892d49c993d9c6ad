"""Help: commands by task, examples that run, and a start that does not wait for what only commands need."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from khodump.cli.help import Command, Group
from tests.captures import SAMPLES
from tests.commands import COMMANDS, GROUP
from tests.transcript import run

CAPTURES = SAMPLES / "captures"
#: The files that examples name. `vmcore` is a machine about to kexec, `next` the machine that came up after it.
FILES = {
    "vmcore": CAPTURES / "luo-memfd" / "serialized.elf",
    "before": CAPTURES / "luo-memfd" / "pre.elf",
    "next": CAPTURES / "luo-memfd" / "next-out.elf",
    "mem.img": SAMPLES / "synthetic" / "mem.img",
    "kho.dtb": SAMPLES / "synthetic" / "kho.dtb",
    "kho": CAPTURES / "luo-memfd",  # debugfs' directory
}

EXAMPLES = [example.line for command in COMMANDS.values() for example in command.examples]


def test_every_command_is_declared_with_help():
    assert isinstance(GROUP, Group)
    assert all(isinstance(command, Command) for command in COMMANDS.values())


def test_khodump_alone_shows_the_commands_by_task():
    alone = run()
    assert alone.status == 0
    assert alone == run("--help")
    headings = [line for line in alone.stdout.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings[-1] == "Options:"
    assert "More:" not in headings  # where commands without a task would stand
    assert {f"{task}:" for task in GROUP.tasks()} == set(headings[:-1])
    for name in COMMANDS:
        assert f"\n  {name} " in alone.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    helped = run(name, "--help")
    assert helped.status == 0
    assert len(COMMANDS[name].examples) >= 2
    shown = helped.stdout.partition("\nExamples:\n")[2]
    for example in COMMANDS[name].examples:
        assert example.line.split()[0] == name
        assert f"  # {example.shows}\n  khodump {example.line}\n" in shown


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_run(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, target in FILES.items():
        (tmp_path / name).symlink_to(target)
    ran = run(*shlex.split(line))
    assert ran.status in {0, 1, 4}, ran.stderr  # the samples do not hold what was preserved
    assert "hint: " not in ran.stderr


def test_help_needs_neither_numpy_nor_rich():
    code = "import sys\nfrom khodump.cli.application import app\ntry: app(['inspect', '--help'])\nexcept SystemExit: print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    modules = set(loaded.splitlines()[-1].split())
    assert "khodump.cli" in modules
    assert not modules & {"numpy", "rich", "construct", "tabulate", "elftools"}


def test_a_misspelt_command_is_guessed():
    assert "Did you mean 'inspect'" in run("ispect").stderr
