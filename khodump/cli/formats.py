"""`khodump formats`."""

from __future__ import annotations

from khodump.cli.command import Status, command
from khodump.cli.terminal import Terminal


@command
def formats(terminal: Terminal) -> Status:
    """List the image and map formats that can be read, and what needs which extra."""
    from khodump.analysis.formats import formats as analyse

    return terminal.write(analyse())
