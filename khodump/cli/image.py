"""The options that name a memory image, or this machine's memory, and say how to read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import typer

from khodump.advice import PAGE_SIZE, Invocation, Option, Parameter, given
from khodump.cli import completion
from khodump.errors import KhodumpError, UsageError
from khodump.numbers import parse_number

if TYPE_CHECKING:
    from khodump.handover import Handover

#: What is said of options that several commands have.
VERSION_HELP: Final = "Read it as this version (kho-v4), whatever the FDT says."
PAGE_SIZE_HELP: Final = "The kernel's page size: 4K, 16K or 64K. Default: worked out from evidence."
ASSUME_ZERO_HELP: Final = "Take pages that were filtered from a dump for zeros."
RANGES_HELP: Final = "The raw image holds the memory of this file (/proc/iomem's format) without its holes."

IMAGES = typer.Argument(
    metavar="IMAGE...",
    help="Memory image, by content: raw, ELF core, kdump, LiME (khodump formats lists all), or a URL of one. "
    "FILE@BASE places a raw file at a physical address; several files make one memory.",
    show_default=False,
)


@dataclass(frozen=True)
class Image:
    """A memory image, and how to read what is found in it."""

    heading: ClassVar = "Image options"

    images: Annotated[list[str], IMAGES]
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="VERSION",
            autocompletion=completion.versions,
            help=VERSION_HELP,
        ),
    ] = None
    page_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            autocompletion=completion.page_sizes,
            help=PAGE_SIZE_HELP,
        ),
    ] = None
    assume_zero: Annotated[bool, typer.Option("--assume-zero", help=ASSUME_ZERO_HELP)] = False
    ranges: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help=RANGES_HELP,
        ),
    ] = None
    force_placement: Annotated[
        bool,
        typer.Option(
            "--force-placement", help="Read all of a raw file, even where only a guess says where it belongs."
        ),
    ] = False

    @property
    def named_images(self) -> list[str]:
        """The images that stand as arguments; none with --live."""
        return self.images or []

    @property
    def paths(self) -> list[str]:
        """The files that make the image."""
        return self.named_images

    @property
    def inputs(self) -> list[str]:
        """All files that are read, which no output may replace."""
        return [*self.paths, *([self.ranges] if self.ranges else [])]

    def option(self, parameter: Parameter) -> str:
        """The parameter as the command has it."""
        return parameter.as_option()

    @property
    def image_options(self) -> tuple[Option, ...]:
        """How to read the image, as it was said."""
        return given(
            {
                "--as": self.as_,
                "--page-size": self.page_size,
                "--ranges": self.ranges,
                "--assume-zero": self.assume_zero,
                "--force-placement": self.force_placement,
            }
        )

    @property
    def invocation(self) -> Invocation:
        """How the image was named, for commands that are to look at it again."""
        return Invocation(tuple(self.paths), self.image_options, wording=self.option)

    @contextmanager
    def advising(self) -> Iterator[None]:
        """Let the hint of an error that ends the block name the image as the person did."""
        try:
            yield
        except KhodumpError as error:
            error.invocation = self.invocation
            raise

    @property
    def page_bytes(self) -> int | None:
        """Bytes a page, when forced."""
        return None if self.page_size is None else parse_number(self.page_size, self.option(PAGE_SIZE))

    def worded(self, handover: Handover) -> Handover:
        """The same, with this option named where the page size is from it."""
        if self.page_size is None:
            return handover
        return replace(handover, geometry_reason=self.option(PAGE_SIZE))


@dataclass(frozen=True)
class ImageOrMachine(Image):
    """A memory image, or the memory of the machine this runs on."""

    images: Annotated[list[str] | None, IMAGES] = None  # type: ignore[assignment]  # not with --live
    live: Annotated[
        bool, typer.Option("--live", help="This machine: its memory, and what its kernel prepares.")
    ] = False

    @property
    def image_options(self) -> tuple[Option, ...]:
        """See `Image.image_options`."""
        return (*given({"--live": self.live}), *super().image_options)

    @property
    def describes_image(self) -> bool:
        """Whether something is said of an image, named or not."""
        return bool(self.paths or self.ranges or self.assume_zero or self.force_placement)

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: it does not.
        """
        if self.live and self.describes_image:
            raise UsageError(
                "--live names this machine's memory and FDT itself",
                hint="leave the image, and what describes one, out",
            )
        if not self.live and not self.named_images:
            raise UsageError("no memory image named", hint="name an image, or this machine with --live")
