"""`khodump sessions`."""

from __future__ import annotations

from typing import Annotated

import typer

from khodump.cli import completion
from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Terminal
from khodump.numbers import parse_number


@command(
    examples=[
        Example("sessions vmcore", "What LUO serialized: sessions, files, and where they lie"),
        Example("sessions vmcore --session vm-beta --file 0x7", "One file of one session"),
    ]
)
def sessions(
    source: Source,
    terminal: Terminal,
    session: Annotated[
        str | None,
        typer.Option(metavar="NAME", autocompletion=completion.sessions, help="Only this session."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", autocompletion=completion.tokens, help="Only files with this token."),
    ] = None,
) -> Status:
    """List the sessions and files that LUO serialized, or that the kernel's lists have, with their folios and where they lie."""
    from khodump.tables.sessions import sessions as analyse

    token = parse_number(file, "--file") if file is not None else None
    with source.opened(terminal) as handover:
        return terminal.write(analyse(handover, session=session, token=token))
