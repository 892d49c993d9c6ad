"""Standard streams, which may be closed, full, or read by nobody."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import typer


def prepare() -> None:
    """Make a run safe from how it was started.

    What was closed becomes /dev/null, or a file that is opened later would take its place and get what is meant for it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open to the end


def say(line: str) -> None:
    """A line on stderr; where that cannot be written, nobody is listening, and the run goes on."""
    try:
        typer.echo(line, err=True)
    except OSError:
        silence(2)


def silence(descriptor: int) -> None:
    """Keep the interpreter from flushing what is left to a standard stream that fails."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
