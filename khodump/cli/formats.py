"""`khodump formats`."""

from __future__ import annotations

from khodump.cli import options
from khodump.cli.terminal import Status, Terminal, command
from khodump.output.formats import Format


@command
def formats(
    format_: options.OutputFormat = Format.TABLE,
    output: options.Output = None,
    color: options.ColorWhen = options.Color.AUTO,
    quiet: options.Quiet = False,
) -> Status:
    """List the image and map formats that can be read, and what needs which extra."""
    from khodump.analysis.formats import formats as analyse

    return Terminal(format_, output, color, quiet).write(analyse())
