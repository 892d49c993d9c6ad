"""`khodump slim`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Terminal
from khodump.errors import UsageError


@dataclass(frozen=True)
class _Terminal(Terminal):
    """Rows go to stdout: the file is for the core."""

    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="The core to write."),
    ] = None

    @property
    def on_terminal(self) -> bool:
        """See Display."""
        return sys.stdout.isatty()


@command(
    examples=[
        Example(
            "slim vmcore --output slim.elf", "A core to mail: metadata alone, nothing that was preserved"
        ),
        Example(
            "slim mem.img --fdt kho.dtb --keep-unknown --output slim.elf",
            "Also what nobody understands, and may be anybody's data",
        ),
    ]
)
def slim(
    source: Source,
    terminal: _Terminal,
    keep_unknown: Annotated[
        bool,
        typer.Option(
            "--keep-unknown",
            help="Keep blobs of unknown users, and what may be no metadata any more: it may be anybody's data.",
        ),
    ] = False,
    kernel: Annotated[
        bool,
        typer.Option(
            "--kernel/--no-kernel",
            help="Keep what the running kernel is asked by: symbols, types, LUO's lists. They take some MiB.",
        ),
    ] = True,
) -> Status:
    """Write an ELF core with KHO's metadata and nothing that was preserved, and list what it holds."""
    from khodump.extraction.slim import Slim
    from khodump.output.files import is_stdout, new_file

    output = terminal.output
    if output is None:
        raise UsageError("no file to write named", hint="khodump slim IMAGE --output FILE")
    if is_stdout(output) and sys.stdout.isatty():
        raise UsageError("the core would go to this terminal", hint="--output FILE, or pipe it to a command")
    with (
        source.opened(terminal) as handover,
        new_file(output, force=terminal.force, inputs=source.inputs) as sink,
    ):
        core = Slim.of(handover, keep_unknown=keep_unknown, keep_kernel=kernel)
        with terminal.progress(f"writing {output}") as progress:
            core.write(sink, progress)
    if is_stdout(output):
        return terminal.conclude(core.result(output).tail())
    return replace(terminal, output=None).write(core.result(output))
