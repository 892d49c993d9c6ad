"""`khodump subtrees`."""

from __future__ import annotations

from typing import Annotated

import typer

from khodump.cli import options
from khodump.cli.source import opened
from khodump.cli.terminal import Status, Terminal, command
from khodump.output.formats import Format


@command
def subtrees(
    images: options.Images,
    fdt: options.Fdt = None,
    source: Annotated[bool, typer.Option("--dts", help="Print the root FDT as device-tree source.")] = False,
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
    """Show the root FDT and what its nodes lead to, decoded."""
    from khodump.analysis.dts import dts
    from khodump.analysis.subtrees import subtrees as analyse

    terminal = Terminal(format_, output, color, quiet, verbose)
    handovers = opened(
        terminal, images, fdt=fdt, as_=as_, page_size=page_size, assume_zero=assume_zero, ranges=ranges
    )
    with handovers as handover:
        if source:
            return terminal.write_lines(dts(handover.fdt.tree))
        return terminal.write(analyse(handover))
