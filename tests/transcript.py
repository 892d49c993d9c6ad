"""Transcripts: commands, and what they print, as a person would read them at a prompt.

A transcript is a text of `$ khodump ...` lines, each followed by what it writes to stdout. Lines that go to stderr
come after, marked `! `, and an exit status other than 0 ends it as `[status]`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from khodump.cli.application import app

ROOT = Path(__file__).parent.parent
PROMPT = "$ khodump "


class Run(NamedTuple):
    """What one command wrote, and how it ended."""

    stdout: str
    stderr: str
    screen: str  # both, in the order in which they were written
    status: int

    @property
    def transcript(self) -> str:
        """Its part of a transcript, after the prompt."""
        marked = "".join(f"! {line}\n" for line in self.stderr.splitlines())
        return self.stdout + marked + (f"[{self.status}]\n" if self.status else "")


def run(*arguments: str | Path | int) -> Run:
    """Run khodump in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Run(result.stdout, result.stderr, result.output, result.exit_code)


def replay(text: str) -> str:
    """The transcript `text` as it comes out now."""
    return "".join(f"{PROMPT}{line}\n{run(*shlex.split(line)).transcript}" for line in commands(text))


def commands(text: str) -> Iterator[str]:
    """The arguments of every khodump command in a transcript."""
    return (line.removeprefix(PROMPT) for line in text.splitlines() if line.startswith(PROMPT))
