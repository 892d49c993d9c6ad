"""Opening what the arguments name, as every command that reads a handover does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from khodump.cli import options
from khodump.cli.terminal import Terminal

if TYPE_CHECKING:
    from khodump.handover import Handover


@contextmanager
def opened(
    terminal: Terminal,
    images: Sequence[str],
    *,
    fdt: str | None = None,
    as_: str | None = None,
    page_size: str | None = None,
    assume_zero: bool = False,
    ranges: str | None = None,
    scratch: Sequence[str] | None = None,
) -> Iterator[Handover]:
    """The handover that the shared options name, with progress and notes on stderr; closed afterwards."""
    from khodump.opening import open_handover

    with terminal.progress("searching for the root FDT") as progress:
        handover = open_handover(
            images,
            fdt=options.fdt_argument(fdt),
            version=as_,
            page_size=options.page_size_argument(page_size),
            assume_zero=assume_zero,
            ranges=ranges,
            scratch=scratch or (),
            progress=progress,
        )
    with handover:
        for note in handover.notes:
            terminal.note(note)
        yield handover


@contextmanager
def opened_live(
    terminal: Terminal, *, incoming: bool, as_: str | None = None, page_size: str | None = None
) -> Iterator[Handover]:
    """The handover of this machine, likewise."""
    from khodump.opening import open_live_handover

    size = options.page_size_argument(page_size)
    with terminal.progress("searching for the root FDT") as progress:
        handover = open_live_handover(incoming=incoming, version=as_, page_size=size, progress=progress)
    with handover:
        for note in handover.notes:
            terminal.note(note)
        yield handover
