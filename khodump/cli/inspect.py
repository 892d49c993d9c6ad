"""`khodump inspect`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from khodump.cli import options
from khodump.cli.source import opened, opened_live
from khodump.cli.terminal import Status, Terminal, command
from khodump.errors import UsageError
from khodump.numbers import parse_range
from khodump.output.formats import Format


class Sort(StrEnum):
    """The order of the listing."""

    PHYS = "phys"
    WALK = "walk"


@command
def inspect(
    images: options.OptionalImages = None,
    fdt: options.Fdt = None,
    pages: Annotated[bool, typer.Option("--pages", help="List every preservation instead of runs.")] = False,
    owners: Annotated[
        bool, typer.Option("--owners", help="Say whose each is, and cut runs where owners change.")
    ] = False,
    sort: Annotated[Sort, typer.Option(help="By address, or in the kernel's walk order.")] = Sort.PHYS,
    order: Annotated[list[int] | None, typer.Option(help="Only this order; may be repeated.", min=0)] = None,
    range_: Annotated[
        str | None,
        typer.Option(
            "--range", metavar="START-END", help="Only what touches these addresses, END exclusive."
        ),
    ] = None,
    as_: options.As = None,
    page_size: options.PageSize = None,
    assume_zero: options.AssumeZero = False,
    ranges: options.Ranges = None,
    scratch: options.Scratch = None,
    live: Annotated[
        bool, typer.Option("--live", help="This machine: its memory, and debugfs' out/fdt.")
    ] = False,
    incoming: Annotated[
        bool, typer.Option("--in", help="With --live: what this kernel received, in/fdt.")
    ] = False,
    format_: options.OutputFormat = Format.TABLE,
    output: options.Output = None,
    color: options.ColorWhen = options.Color.AUTO,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> Status:
    """List everything that the KHO handover in a memory image preserves."""
    from khodump.analysis.inspect import Selection
    from khodump.analysis.inspect import inspect as analyse

    _check_live(images, fdt, ranges, scratch, assume_zero, live=live, incoming=incoming)
    terminal = Terminal(format_, output, color, quiet, verbose)
    start, end = parse_range(range_) if range_ else (0, None)
    selection = Selection(tuple(order) if order else None, start, end)
    if live:
        source = opened_live(terminal, incoming=incoming, as_=as_, page_size=page_size)
    else:
        source = opened(
            terminal,
            images or [],
            fdt=fdt,
            as_=as_,
            page_size=page_size,
            assume_zero=assume_zero,
            ranges=ranges,
            scratch=scratch,
        )
    with source as handover:
        walk_order = sort is Sort.WALK
        return terminal.write(analyse(handover, selection, pages=pages, walk_order=walk_order, owners=owners))


def _check_live(images: list[str] | None, *sources: object, live: bool, incoming: bool) -> None:
    """Refuse what does not go together."""
    if live and (images or any(sources)):
        raise UsageError(
            "--live names this machine's memory and FDT itself",
            hint="leave the image, and what describes one, out",
        )
    if incoming and not live:
        raise UsageError(
            "--in goes with --live", hint="for an image, pass the FDT with --fdt, or none to search for it"
        )
    if not live and not images:
        raise UsageError("no memory image named", hint="khodump inspect IMAGE, or khodump inspect --live")
