"""`khodump owners`."""

from __future__ import annotations

from khodump.cli import options
from khodump.cli.source import opened
from khodump.cli.terminal import Status, Terminal, command
from khodump.output.formats import Format


@command
def owners(
    images: options.Images,
    fdt: options.Fdt = None,
    as_: options.As = None,
    page_size: options.PageSize = None,
    assume_zero: options.AssumeZero = False,
    ranges: options.Ranges = None,
    format_: options.OutputFormat = Format.TABLE,
    output: options.Output = None,
    color: options.ColorWhen = options.Color.AUTO,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> Status:
    """Whose the preserved memory is: what is claimed, what is not, and what keeping track of it costs."""
    from khodump.analysis.owners import owners as analyse

    terminal = Terminal(format_, output, color, quiet, verbose)
    source = opened(
        terminal, images, fdt=fdt, as_=as_, page_size=page_size, assume_zero=assume_zero, ranges=ranges
    )
    with source as handover:
        return terminal.write(analyse(handover))
