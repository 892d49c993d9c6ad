"""`khodump scan`."""

from __future__ import annotations

from typing import Annotated

import typer

from khodump.cli import options
from khodump.cli.terminal import Status, Terminal, command
from khodump.output.formats import Format


@command
def scan(
    images: options.Images,
    as_: options.As = None,
    page_size: options.PageSize = None,
    assume_zero: options.AssumeZero = False,
    ranges: options.Ranges = None,
    devicetree: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The machine's device tree; its /chosen may tell of KHO (arm64)."),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Look for x86's boot_params at every address, not only at page starts."),
    ] = False,
    format_: options.OutputFormat = Format.TABLE,
    output: options.Output = None,
    color: options.ColorWhen = options.Color.AUTO,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> Status:
    """List every root FDT in a memory image, what speaks for each, and what the boot protocol says."""
    from khodump.analysis.scan import scan as analyse
    from khodump.opening import search

    terminal = Terminal(format_, output, color, quiet, verbose)
    with terminal.progress("searching for root FDTs") as progress:
        memory, found, notes = search(
            images,
            version=as_,
            page_size=options.page_size_argument(page_size),
            assume_zero=assume_zero,
            ranges=ranges,
            devicetree=devicetree,
            deep=deep,
            progress=progress,
        )
    with memory:
        for note in (*memory.warnings, *notes):
            terminal.note(note)
        status = terminal.write(analyse(memory, found))
    return status if found.candidates else Status.NO_HANDOVER
