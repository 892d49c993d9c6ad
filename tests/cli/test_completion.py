"""What TAB offers, by the protocol that the shells speak."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from khodump.abi import kernels
from khodump.checking.rules import RULES
from khodump.cli import completion
from khodump.trackers import READABLE_VERSIONS
from tests.captures import CAPTURES, SAMPLES
from tests.commands import COMMANDS
from tests.screen import KHODUMP

IMAGE = CAPTURES["luo-memfd serialized"].path
FDT = SAMPLES / "captures" / "luo-memfd" / "kho-out.dtb"


#: Machines that run tests are busy: a budget of half a minute.
CODE = "from khodump.cli import completion, main; completion._BUDGET = 30; main()"
PATIENT = [KHODUMP[0], "-c", CODE]


def ask(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        PATIENT, capture_output=True, text=True, check=False, env=os.environ | environment, timeout=60
    )


def offered(*words: str | Path) -> list[str]:
    """What bash is told of the last of these words."""
    line = ["khodump", *map(str, words)]
    answer = ask(
        {"_KHODUMP_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    )
    assert (answer.stderr, answer.returncode) == ("", 0)
    return answer.stdout.split()


def test_commands_options_and_formats():
    assert set(offered("")) >= COMMANDS.keys()
    assert offered("ins") == ["inspect"]
    assert offered("check", "--ne") == ["--next"]
    assert offered("inspect", "x", "--format", "js") == ["json", "jsonl"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check", "x", "--next", ""], kernels.names()),
        (["check", "x", "--next", "7."], ["7.3", "7.2", "7.1", "7.1-rc1", "7.0"]),
        (["check", "--explain", "blob"], [rule.name for rule in RULES if rule.name.startswith("blob")]),
        (["inspect", "x", "--as", ""], list(READABLE_VERSIONS)),
        (["key", "--page-size", ""], ["4K", "16K", "64K"]),
        (["scan", "no-such-file", "--page-size", "1"], ["16K"]),
    ],
)
def test_names_that_need_no_image(words, expected):
    assert offered(*words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sessions", IMAGE, "--session", "vm-"], ["vm-alpha", "vm-beta"]),
        (["sessions", IMAGE, "-q", "--session", "vm-alpha", "--file", ""], ["0x1", "0x2", "0xdeadbeefcafe0003", "0x4"]),
        (["extract", IMAGE, "--memfd", "vm-beta/0x"], [f"vm-beta/0x{token}" for token in ("0", "f" * 16, "7", "8", "a", "1")]),
        (["extract", IMAGE, "--reserve-mem", ""], ["khores", "odd5", "trace"]),
        (["extract", IMAGE, "--blob", ""], ["memblock", "LUO", "kexec-metadata"]),
        (["extract", IMAGE, "--fdt", FDT, "--blob", "L"], ["LUO"]),
    ],
)  # fmt: skip
def test_names_in_the_image_on_the_line(words, expected):
    assert offered(*words) == expected


def test_names_that_a_shell_could_take_for_its_own_are_not_offered():
    names = offered("sessions", IMAGE, "--session", "")
    assert "empty" in names
    assert not any("odd" in name for name in names)


@pytest.mark.parametrize(
    "words",
    [
        ["extract", "--memfd", ""],
        ["extract", "no-such-file", "--memfd", ""],
        ["extract", "README.md", "--memfd", ""],
        ["extract", SAMPLES, "--memfd", ""],
        ["extract", "https://localhost/vmcore", "--memfd", ""],
        ["extract", IMAGE, "--fdt", "no-such-file", "--memfd", ""],
        ["extract", IMAGE, "--as", "kho-v99", "--memfd", ""],
        ["check", "--no-such-option", "x", ""],
        ["inspect", IMAGE, "--order", "many", "--order", ""],
        ["sessions", "samples/synthetic/cyclic-sessions.elf", "--session", "no"],
    ],
)
def test_what_is_wrong_is_not_said(words):
    assert offered(*words) == []


def test_a_large_image_is_not_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(completion, "_SMALL", IMAGE.stat().st_size // 2)
    assert names(IMAGE) == []
    assert "LUO" in names(IMAGE, fdt=str(FDT))
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    began = time.monotonic()
    assert names(sparse) == []
    assert time.monotonic() - began < 5


def test_what_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr("khodump.api.open_handover", lambda *_, **__: time.sleep(20))
    began = time.monotonic()
    assert names(IMAGE) == []
    assert time.monotonic() - began < 5


def names(image: Path, **options: str) -> list[str]:
    context = COMMANDS["extract"].make_context("extract", [str(image)], resilient_parsing=True)
    context.params |= options
    return completion.nodes(context, "")  # type: ignore[arg-type]  # typer's contexts are of its own class at run time


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_the_same(shell):
    line = {
        "_TYPER_COMPLETE_ARGS": f"khodump extract {IMAGE} --blob ",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    answer = ask({"_KHODUMP_COMPLETE": f"complete_{shell}", **line})
    assert answer.stderr == ""
    assert all(name in answer.stdout for name in ("memblock", "LUO", "kexec-metadata"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_itself_completes(tmp_path):
    """With the script that --show-completion prints."""
    (tmp_path / "khodump").write_text(f'#!/bin/sh\nexec {shlex.join(PATIENT)} "$@"\n')
    (tmp_path / "khodump").chmod(0o755)
    script = subprocess.run(
        KHODUMP,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"_KHODUMP_COMPLETE": "source_bash"},
    ).stdout
    words = shlex.join(["khodump", "extract", str(IMAGE), "--blob", "L"])
    lines = f'{script}\nCOMP_WORDS=({words}) COMP_CWORD=4\n_khodump_completion khodump\necho "${{COMPREPLY[@]}}"\n'
    path = f"{tmp_path}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", lines], capture_output=True, text=True, check=True, env=os.environ | {"PATH": path}
    )
    assert ended.stdout == "LUO\n"
