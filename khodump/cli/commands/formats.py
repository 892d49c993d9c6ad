"""`khodump formats`."""

from __future__ import annotations

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.terminal import Terminal


@command(
    examples=[
        Example("formats", "What can be read here, and what needs an extra"),
        Example("formats --format json", "The same, for a script"),
    ]
)
def formats(terminal: Terminal) -> Status:
    """List the image and map formats that can be read, and what needs which extra."""
    from khodump.tables.formats import formats as analyse

    return terminal.write(analyse())
