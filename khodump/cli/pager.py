"""A pager for tables that are longer than the window, chosen and treated as git does it."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from khodump.cli.interrupts import raising

#: The variables that choose one, in the order in which they are asked, for man pages.
ENVIRONMENT: Final = {
    "KHODUMP_PAGER": "The pager for tables on a terminal; none if it is empty or cat.",
    "PAGER": "The same, where KHODUMP_PAGER is not set. Without either it is less, with LESS=FRX unless LESS is set.",
}


def pager_command() -> list[str]:
    """The pager and its arguments; empty for none."""
    text = next((os.environ[name] for name in ENVIRONMENT if name in os.environ), "less")
    try:
        words = shlex.split(text)
    except ValueError:  # quotes that do not close
        return []
    return [] if words == ["cat"] else words


@contextmanager
def paged() -> Iterator[TextIO]:
    """A stream into the pager, which is waited for; stdout where there is none. One that goes away is a broken pipe."""
    with raising():
        yield from _paged()


def _paged() -> Iterator[TextIO]:
    words = pager_command()
    try:
        environment = {"LESS": "FRX", **os.environ}
        pager = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment) if words else None  # noqa: S603 - the user's own
    except OSError:  # not installed
        pager = None
    if pager is None or pager.stdin is None:
        yield sys.stdout
        return
    stream = io.TextIOWrapper(pager.stdin, sys.stdout.encoding, errors="backslashreplace")
    try:
        yield stream
        stream.flush()
    finally:
        with suppress(OSError):
            stream.close()
        _wait_for(pager)


def _wait_for(pager: subprocess.Popen[bytes]) -> None:
    """Until it ends; an interrupt meanwhile is for the pager alone."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pager.wait()
    finally:
        signal.signal(signal.SIGINT, before)
