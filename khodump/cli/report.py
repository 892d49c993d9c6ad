"""`khodump report`."""

from __future__ import annotations

from typing import Annotated

import typer

from khodump.cli.command import Status, command
from khodump.cli.source import Source
from khodump.cli.terminal import Voice


@command
def report(
    source: Source,
    voice: Voice,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")],
    next_: Annotated[
        str | None,
        typer.Option("--next", metavar="KERNEL", help="The kernel that is to receive it, as for check."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
) -> Status:
    """Write all that is known of a handover into one HTML file that can be mailed."""
    import numpy as np

    from khodump.abi.kernels import kernel_named
    from khodump.analysis.check import examine
    from khodump.analysis.extraction.sinks import new_file
    from khodump.numbers import format_size
    from khodump.report.handover import handover_page
    from khodump.report.page import render

    kernel = None if next_ is None else kernel_named(next_)
    with source.suspect(voice) as suspect:
        checkup = examine(suspect, kernel)
        page = render(handover_page(suspect, checkup, kernel)).encode()
    with new_file(output, room=len(page), force=force, sources=source.paths) as sink:
        sink.write(np.frombuffer(page, np.uint8))
    voice.note(f"wrote {output}, {format_size(len(page))}: {checkup.verdict}")
    return Status.DONE
