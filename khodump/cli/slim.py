"""`khodump slim`."""

from __future__ import annotations

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
    def _writes_to_stdout(self) -> bool:
        return True


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
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    keep_unknown: Annotated[
        bool,
        typer.Option(
            "--keep-unknown",
            help="Keep blobs of unknown users, and what may be no metadata any more: it may be anybody's data.",
        ),
    ] = False,
) -> Status:
    """Write an ELF core with KHO's metadata and nothing that was preserved, and list what it holds."""
    from khodump.analysis.extraction.sinks import new_file
    from khodump.analysis.slim import Slim

    output = terminal.output
    if output is None:
        raise UsageError("no file to write named", hint="khodump slim IMAGE --output FILE")
    with (
        new_file(output, force=force, sources=source.paths) as sink,
        source.opened(terminal) as handover,
    ):
        core = Slim.of(handover, keep_unknown=keep_unknown)
        with terminal.progress(f"writing {output}") as progress:
            core.write(sink, progress)
    return replace(terminal, output=None).write(core.result(output))
