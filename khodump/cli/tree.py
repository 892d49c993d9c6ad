"""`khodump tree`."""

from __future__ import annotations

from typing import Annotated

import typer

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Screen, Terminal
from khodump.numbers import parse_number
from khodump.output.formats import Format


@command(
    examples=[
        Example("tree vmcore", "The map's own pages, level by level"),
        Example("tree vmcore --path 0x4022c000", "Only the way to this address"),
        Example("tree vmcore --level 0 --format tsv", "All leaves, for a script"),
    ]
)
def tree(
    source: Source,
    terminal: Terminal,
    depth: Annotated[
        int | None, typer.Option("--depth", "-L", metavar="N", help="Only N levels below the top.", min=0)
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="ADDR", help="Only the ways to this physical address, at any order.")
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only nodes of this level, all of them; 0 is the leaves.", min=0),
    ] = None,
) -> Status:
    """Show the map's own pages as a tree: what each stands for, and how much is preserved below it.

    Where there are very many siblings, one line tells of the rest; --level and the data formats leave none out.
    """
    from khodump.analysis.tree import Branches, listing, tail_of
    from khodump.analysis.tree import tree as analyse
    from khodump.report.branches import draw_tree, joints_of

    branches = Branches(depth, level, None if path is None else parse_number(path))
    with source.opened(terminal) as handover:
        if terminal.format_ is not Format.TABLE or level is not None:
            return terminal.write(analyse(handover, branches))
        chosen, keyed = listing(handover, branches), handover.tracker.depth is not None

        def lines(screen: Screen) -> list[str]:
            return list(draw_tree(chosen, joints_of(screen.encoding), keyed=keyed))

        terminal.draw(lines)
        return terminal.conclude(tail_of(handover, chosen))
