"""`khodump subtrees`."""

from __future__ import annotations

from typing import Annotated

import typer

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Terminal


@command(
    examples=[
        Example("subtrees vmcore", "Every node of the root FDT, and what it leads to"),
        Example("subtrees vmcore --dts", "The root FDT as device-tree source"),
    ]
)
def subtrees(
    source: Source,
    terminal: Terminal,
    as_source: Annotated[
        bool, typer.Option("--dts", help="Print the root FDT as device-tree source.")
    ] = False,
) -> Status:
    """Show the root FDT and what its nodes lead to, decoded."""
    from khodump.opening.mapless import MaplessRoot
    from khodump.tables.dts import dts
    from khodump.tables.subtrees import subtrees as analyse

    if not as_source:
        with source.opened(terminal) as handover:
            return terminal.write(analyse(handover))
    with source.opened_or_mapless(terminal) as opened:
        if opened.fdt is not None:
            terminal.write_lines(dts(opened.fdt.tree))
        if isinstance(opened, MaplessRoot):
            raise opened.problem
        return terminal.said(opened.fdt.findings)
