"""`khodump lookup`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

import typer

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Terminal
from khodump.errors import UsageError
from khodump.numbers import parse_number


@dataclass(frozen=True)
class LookupSource(Source):
    """A handover whose image stands before other arguments."""

    images: Annotated[  # type: ignore[assignment]  # the first of them
        str, typer.Argument(metavar="IMAGE", help="Memory image, as for khodump inspect.", show_default=False)
    ]
    more: Annotated[
        list[str] | None,
        typer.Option("--image", "-i", metavar="IMAGE", help="A further file of the image; may be repeated."),
    ] = None

    @property
    def paths(self) -> list[str]:
        """See `Image.paths`."""
        return [*self.named_images, *(self.more or [])]

    @property
    def named_images(self) -> list[str]:
        """See `Source.named_images`: with --live, addresses stand where an image would."""
        return [] if self.live else [str(self.images)]

    def addresses(self, named: list[str]) -> list[str]:
        """The addresses: those that are named, and with --live what stands before them."""
        return [str(self.images), *named] if self.live else named


@command(
    examples=[
        Example(
            "lookup vmcore 0x4022c000",
            "Who preserves an address, by which key, and where its bytes are in the file",
        ),
        Example("lookup mem.img 0x61234 1M", "Several addresses at once"),
        Example("lookup vmcore 0x7d400000 --scratch kho", "With the scratch regions from debugfs"),
    ]
)
def lookup(
    source: LookupSource,
    terminal: Terminal,
    addresses: Annotated[
        list[str] | None, typer.Argument(metavar="ADDR...", help="Physical addresses.", show_default=False)
    ] = None,
) -> Status:
    """Say of physical addresses whether they are preserved, how the map says so, by whom, and where their bytes are."""
    from khodump.opening.mapless import MaplessRoot
    from khodump.tables.lookup import lookup as analyse
    from khodump.tables.lookup import lookup_bytes

    wanted = [_address(text) for text in source.addresses(addresses or [])]
    if not wanted:
        raise UsageError("no address named", hint="khodump lookup IMAGE ADDR, or khodump lookup --live ADDR")
    with source.opened_or_mapless(terminal) as opened:
        if not isinstance(opened, MaplessRoot):
            return terminal.write(analyse(opened, wanted))
        terminal.write(lookup_bytes(opened, wanted))
        raise opened.problem


def _address(text: str) -> int:
    try:
        return parse_number(text, "ADDR")
    except UsageError as error:
        if os.path.exists(text):  # noqa: PTH110 - Path.exists raises for a name that is too long
            hint = "further files of the image go behind --image"
            raise UsageError(f"{text} is a file, not an address", hint=hint) from error
        raise
