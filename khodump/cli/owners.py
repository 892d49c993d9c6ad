"""`khodump owners`."""

from __future__ import annotations

from khodump.cli.command import Status, command
from khodump.cli.source import Source
from khodump.cli.terminal import Terminal


@command
def owners(source: Source, terminal: Terminal) -> Status:
    """Whose the preserved memory is: what is claimed, what is not, and what keeping track of it costs."""
    from khodump.analysis.owners import owners as analyse

    with source.opened(terminal) as handover:
        return terminal.write(analyse(handover))
