"""`khodump scan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from khodump.advice import told
from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.image import ImageOrMachine
from khodump.cli.terminal import Terminal

if TYPE_CHECKING:
    from khodump.opening.locate import Progress


class _Asked(TypedDict):
    """What is asked of an image and of this machine alike."""

    version: str | None
    page_size: int | None
    devicetree: str | None
    deep: bool
    progress: Progress | None


@command(
    examples=[
        Example("scan vmcore", "Every root FDT in the image, and what speaks for each"),
        Example(
            "scan mem.img --deep --format json", "Also boot_params that stand in a kernel's own variables"
        ),
    ]
)
def scan(
    source: ImageOrMachine,
    terminal: Terminal,
    devicetree: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The machine's device tree; its /chosen may tell of KHO (arm64)."),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Look for x86's boot_params at every address, not only at page starts."),
    ] = False,
) -> Status:
    """List every root FDT in memory, what speaks for each, and what the boot protocol says."""
    from khodump.api import search, search_live
    from khodump.tables.scan import scan as analyse

    source.check()
    terminal.spare([*source.inputs, *([devicetree] if devicetree else [])])
    with source.advising(), terminal.noting(), terminal.progress("searching for root FDTs") as progress:
        asked = _Asked(
            version=source.as_,
            page_size=source.page_bytes,
            devicetree=devicetree,
            deep=deep,
            progress=progress,
        )
        if source.live:
            survey = search_live(**asked)
        else:
            survey = search(
                source.paths,
                assume_zero=source.assume_zero,
                ranges=source.ranges,
                force_placement=source.force_placement,
                **asked,
            )
    with survey.memory as memory:
        for note in (*memory.warnings, *survey.notes):
            terminal.note(told(note, source.invocation))
        if not survey.candidates or survey.searched.lacks:
            terminal.note(str(survey.searched))
        status = terminal.write(analyse(survey))
    return status if survey.candidates else Status.NO_HANDOVER
