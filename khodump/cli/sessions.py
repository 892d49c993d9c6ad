"""`khodump sessions`."""

from __future__ import annotations

from typing import Annotated

import typer

from khodump.cli import options
from khodump.cli.source import opened
from khodump.cli.terminal import Status, Terminal, command
from khodump.numbers import parse_number
from khodump.output.formats import Format


@command
def sessions(
    images: options.Images,
    fdt: options.Fdt = None,
    session: Annotated[str | None, typer.Option(metavar="NAME", help="Only this session.")] = None,
    file: Annotated[str | None, typer.Option(metavar="TOKEN", help="Only files with this token.")] = None,
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
    """List the sessions and files that LUO serialized, with their folios and where they lie."""
    from khodump.analysis.sessions import sessions as analyse

    token = parse_number(file) if file is not None else None
    terminal = Terminal(format_, output, color, quiet, verbose)
    source = opened(
        terminal, images, fdt=fdt, as_=as_, page_size=page_size, assume_zero=assume_zero, ranges=ranges
    )
    with source as handover:
        return terminal.write(analyse(handover, session=session, token=token))
