"""Signals that end a run.

Nothing that a run has begun needs more than to be removed, so it ends in the handler. An exception would come up
anywhere: in the middle of an import, where C code prints it with a traceback or takes it for a missing library.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from khodump.cli.command import Status
from khodump.output.drafts import remove_drafts

if TYPE_CHECKING:
    from types import FrameType

_ASKED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What ends a process whatever it does, but leaves it the time to remove files.
_OTHERS: Final = (
    signal.SIGQUIT,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)
_ERASE: Final = b"\r\x1b[K"


def leave_tidily() -> None:
    """Let the signals end the run with a line on stderr, and without files that are half written."""
    _handle(_ASKED, _tidy_and_leave)
    _handle(_OTHERS, _tidy_and_die)


def finish() -> None:
    """The run is over, and its status is known: an interrupt changes nothing any more."""
    for number in (*_ASKED, *_OTHERS):
        if signal.getsignal(number) in (_tidy_and_leave, _tidy_and_die):
            signal.signal(number, signal.SIG_IGN if number in _ASKED else signal.SIG_DFL)


@contextmanager
def raising() -> Iterator[None]:
    """Let the signals raise KeyboardInterrupt instead, for what has to be unwound: a pager that has the terminal."""
    before = {number: signal.getsignal(number) for number in _ASKED}
    ours = [number for number, handler in before.items() if handler is _tidy_and_leave]
    for number in ours:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _handle(numbers: tuple[signal.Signals, ...], handler: signal._HANDLER) -> None:
    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, handler)


def _tidy_and_leave(_: int, __: FrameType | None) -> None:
    remove_drafts()
    line = b"khodump: interrupted\n"
    with suppress(OSError):
        os.write(2, _ERASE + line if os.isatty(2) else line)
    os._exit(Status.INTERRUPTED)


def _tidy_and_die(number: int, _: FrameType | None) -> None:
    remove_drafts()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
