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
    from khodump.analysis.dts import dts
    from khodump.analysis.subtrees import subtrees as analyse

    with source.opened(terminal) as handover:
        if as_source:
            return terminal.write_lines(dts(handover.fdt.tree))
        return terminal.write(analyse(handover))
