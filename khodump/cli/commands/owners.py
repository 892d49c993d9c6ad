"""`khodump owners`."""

from __future__ import annotations

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Terminal


@command(
    examples=[
        Example("owners vmcore", "Bytes by owner, the largest first, and what nobody claims"),
        Example("owners vmcore --format csv --output owners.csv", "The same, for a spreadsheet"),
    ]
)
def owners(source: Source, terminal: Terminal) -> Status:
    """Whose the preserved memory is: what is claimed, what is not, and what keeping track of it costs."""
    from khodump.tables.owners import owners as analyse

    with source.opened(terminal) as handover:
        return terminal.write(analyse(handover))
