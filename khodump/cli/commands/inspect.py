"""`khodump inspect`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Terminal
from khodump.errors import UsageError
from khodump.numbers import parse_order, parse_range


class Sort(StrEnum):
    """The order of the listing."""

    PHYS = "phys"
    WALK = "walk"


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
    source: Source,
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
