"""`khodump scan`."""

from __future__ import annotations

from khodump.cli import options
from khodump.cli.terminal import Status, Terminal, command
from khodump.output.formats import Format


@command
def scan(
    images: options.Images,
    as_: options.As = None,
    page_size: options.PageSize = None,
    assume_zero: options.AssumeZero = False,
    format_: options.OutputFormat = Format.TABLE,
    output: options.Output = None,
    color: options.ColorWhen = options.Color.AUTO,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> Status:
    """List every root FDT in a memory image, and what speaks for each."""
    from khodump.analysis.scan import scan as analyse
    from khodump.handover import search

    terminal = Terminal(format_, output, color, quiet, verbose)
    with terminal.progress("searching for root FDTs") as progress:
        memory, found = search(
            images,
            version=as_,
            page_size=options.page_size_argument(page_size),
            assume_zero=assume_zero,
            progress=progress,
        )
    with memory:
        status = terminal.write(analyse(memory, found))
    return status if found else Status.NO_HANDOVER
