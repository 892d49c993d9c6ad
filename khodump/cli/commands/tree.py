"""`khodump tree`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Screen, Terminal
from khodump.numbers import parse_number
from khodump.output.formats import Format

#: No map has as many.
_MOST_LEVELS: Final = 1000


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
        str | None, typer.Option("--depth", "-L", metavar="N", help="Only N levels below the top.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="ADDR", help="Only the ways to this physical address, at any order.")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(metavar="N", help="Only nodes of this level, all of them; 0 is the leaves."),
    ] = None,
) -> Status:
    """Show the map's own pages as a tree: what each stands for, and how much is preserved below it.

    Where there are very many siblings, one line tells of the rest; --level and the data formats leave none out.
    """
    from khodump.picture.branches import draw_tree, joints_of
    from khodump.tables.tree import Branches, listing, tail_of
    from khodump.tables.tree import tree as analyse

    branches = Branches(
        None if depth is None else parse_number(depth, "--depth", most=_MOST_LEVELS),
        None if level is None else parse_number(level, "--level", most=_MOST_LEVELS),
        None if path is None else parse_number(path, "--path"),
    )
    with source.opened(terminal) as handover:
        if terminal.format_ is not Format.TABLE or level is not None:
            return terminal.write(analyse(handover, branches))
        chosen, keyed = listing(handover, branches), handover.tracker.depth is not None

        def lines(screen: Screen) -> list[str]:
            return list(draw_tree(chosen, joints_of(screen.encoding), keyed=keyed))

        terminal.draw(lines)
        return terminal.conclude(tail_of(handover, chosen))
