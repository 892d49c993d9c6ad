"""`khodump inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from khodump.advice import Invocation
from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import IMAGES, Source
from khodump.cli.terminal import Terminal, Voice
from khodump.errors import ImageError, NoOutgoingFdtError, UsageError
from khodump.numbers import parse_order, parse_range

if TYPE_CHECKING:
    from khodump.handover import Handover

_NO_OUTGOING_FDT: Final = (
    "a kernel that was itself booted through KHO has no out/fdt: leave --live out and name /proc/kcore to search for it, "
    "or look at what it received with --in; else mount debugfs, and check for kho=on and CONFIG_KEXEC_HANDOVER_DEBUGFS"
)


class Sort(StrEnum):
    """The order of the listing."""

    PHYS = "phys"
    WALK = "walk"


@dataclass(frozen=True)
class LiveSource(Source):
    """A handover in a memory image, or that of the machine this runs on."""

    images: Annotated[list[str] | None, IMAGES] = None  # type: ignore[assignment]  # not with --live
    live: Annotated[bool, typer.Option("--live", help="This machine: its memory, and debugfs' out/fdt.")] = (
        False
    )
    incoming: Annotated[
        bool, typer.Option("--in", help="With --live: what this kernel received, in/fdt.")
    ] = False

    @property
    def invocation(self) -> Invocation:
        """See `Source.invocation`: of this machine, the file that other commands read its memory from."""
        if not self.live:
            return super().invocation
        from khodump.memories.live import LivePaths

        return Invocation((str(LivePaths().kcore),), self.image_options)

    @contextmanager
    def opened(self, terminal: Voice) -> Iterator[Handover]:
        """See `Source.opened`."""
        self._check()
        if not self.live:
            with super().opened(terminal) as handover:
                yield handover
            return
        from khodump.api import open_live_handover

        with self.advising(), terminal.noting(), terminal.progress("searching for the root FDT") as progress:
            try:
                handover = open_live_handover(
                    incoming=self.incoming, version=self.as_, page_size=self.page_bytes, progress=progress
                )
            except NoOutgoingFdtError as error:
                raise ImageError(str(error), hint=_NO_OUTGOING_FDT) from error
        handover = self.worded(handover)
        with handover:
            for note in handover.notes:
                terminal.note(note)
            with terminal.progress("walking the map", "pages") as watch:
                yield replace(handover, watch=watch)

    def _check(self) -> None:
        """Refuse what does not go together."""
        if self.live and (self.images or self.fdt or self.ranges or self.scratch or self.assume_zero):
            raise UsageError(
                "--live names this machine's memory and FDT itself",
                hint="leave the image, and what describes one, out",
            )
        if self.incoming and not self.live:
            raise UsageError(
                "--in goes with --live",
                hint="for an image, pass the FDT with --fdt, or none to search for it",
            )
        if not self.live and not self.images:
            raise UsageError("no memory image named", hint="khodump inspect IMAGE, or khodump inspect --live")


@command(
    examples=[
        Example("inspect vmcore", "All that is preserved, in runs; the image is searched for the root FDT"),
        Example(
            "inspect mem.img --fdt kho.dtb --owners", "With the root FDT from debugfs, and whose each run is"
        ),
        Example(
            "inspect vmcore --pages --order 9 --range 1G-2G --format tsv",
            "Every 2 MiB block that lies in the second GiB, for a script",
        ),
    ]
)
def inspect(
    source: LiveSource,
    terminal: Terminal,
    pages: Annotated[bool, typer.Option("--pages", help="List every preservation instead of runs.")] = False,
    owners: Annotated[
        bool, typer.Option("--owners", help="Say whose each is, and cut runs where owners change.")
    ] = False,
    sort: Annotated[Sort, typer.Option(help="By address, or in the kernel's walk order.")] = Sort.PHYS,
    order: Annotated[
        list[str] | None, typer.Option(metavar="N", help="Only this order; may be repeated.")
    ] = None,
    range_: Annotated[
        str | None,
        typer.Option(
            "--range", metavar="START-END", help="Only what touches these addresses, END exclusive."
        ),
    ] = None,
) -> Status:
    """List everything that the KHO handover in a memory image preserves."""
    from khodump.tables.inspect import Selection
    from khodump.tables.inspect import inspect as analyse

    start, end = parse_range(range_, "--range") if range_ else (0, None)
    selection = Selection(tuple(map(parse_order, order)) if order else None, start, end)
    if owners and sort is Sort.WALK:
        raise UsageError("--owners lists by address", hint="leave --sort out")
    with source.opened(terminal) as handover:
        walk_order = sort is Sort.WALK
        return terminal.write(analyse(handover, selection, pages=pages, walk_order=walk_order, owners=owners))
