"""The options that name a handover, for all commands that read one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, TypedDict

import typer

from khodump.advice import FDT, PAGE_SIZE, ROOT, Invocation, Option, Parameter, given, told
from khodump.cli import completion
from khodump.cli.terminal import Voice
from khodump.errors import KhodumpError, UsageError
from khodump.numbers import parse_number

if TYPE_CHECKING:
    from khodump.handover import Handover
    from khodump.opening.broken import Broken

IMAGES = typer.Argument(
    metavar="IMAGE...",
    help="Memory image, by content: raw, ELF core, kdump, LiME (khodump formats lists all), or a URL of one. "
    "FILE@BASE places a raw file at a physical address; several files make one memory.",
    show_default=False,
)


class Options(TypedDict):
    """How to open a handover."""

    fdt: str | int | None
    root: int | None
    version: str | None
    page_size: int | None
    assume_zero: bool
    ranges: str | None
    force_placement: bool
    scratch: Sequence[str]


class LiveOptions(TypedDict):
    """How to open the handover of the machine this runs on."""

    incoming: bool
    version: str | None
    page_size: int | None


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
            help="Read it as this version (kho-v4), whatever the FDT says.",
        ),
    ] = None
    page_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            autocompletion=completion.page_sizes,
            help="The kernel's page size: 4K, 16K or 64K. Default: worked out from evidence.",
        ),
    ] = None
    assume_zero: Annotated[
        bool, typer.Option("--assume-zero", help="Take pages that were filtered from a dump for zeros.")
    ] = False
    ranges: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The raw image holds the memory of this file (/proc/iomem's format) without its holes.",
        ),
    ] = None
    force_placement: Annotated[
        bool,
        typer.Option(
            "--force-placement", help="Read all of a raw file, even where only a guess says where it belongs."
        ),
    ] = False

    @property
    def paths(self) -> list[str]:
        """The files that make the image."""
        return self.images or []

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
        return (
            handover if self.page_size is None else replace(handover, geometry_reason=self.option(PAGE_SIZE))
        )


@dataclass(frozen=True)
class Source(Image):
    """A handover in a memory image, or that of the machine this runs on."""

    images: Annotated[list[str] | None, IMAGES] = None  # type: ignore[assignment]  # not with --live
    live: Annotated[
        bool, typer.Option("--live", help="This machine: its memory, and what its kernel prepares.")
    ] = False
    incoming: Annotated[bool, typer.Option("--in", help="With --live: what this kernel received.")] = False
    fdt: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|0xPHYS",
            help="The root FDT: a .dtb file, or its physical address. Default: where the kernel in the image says, else search.",
        ),
    ] = None
    root: Annotated[
        str | None,
        typer.Option(
            metavar="ADDR",
            help="Where the root FDT is lost: the map's first page, by its physical address. No users are known then.",
        ),
    ] = None
    scratch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="debugfs' scratch_phys, and again for scratch_len; or their directory."
        ),
    ] = None

    @property
    def fdt_argument(self) -> str | int | None:
        """A file name, or a physical address where the text is one and no such file exists."""
        return None if self.fdt is None else named_fdt(self.fdt, self.option(FDT))

    @property
    def inputs(self) -> list[str]:
        """See `Image.inputs`."""
        from khodump.opening.scratch import files_of

        fdt = self.fdt_argument
        scratch = [str(path) for path in files_of(self.scratch or ())]
        return [*super().inputs, *([fdt] if isinstance(fdt, str) else []), *scratch]

    @property
    def invocation(self) -> Invocation:
        """See `Image.invocation`."""
        scratch = tuple(("--scratch", file) for file in self.scratch or ())
        options = (*given({"--fdt": self.fdt, "--root": self.root}), *scratch)
        fdt = self.fdt_argument
        fdt_file = fdt if isinstance(fdt, str) else None
        named = replace(super().invocation, handover_options=options, fdt_file=fdt_file)
        if not self.live:
            return named
        from khodump.memories.live import LivePaths

        live = given({"--live": self.live, "--in": self.incoming})
        return replace(named, images=(str(LivePaths().kcore),), live_options=live)

    @contextmanager
    def opened(self, terminal: Voice) -> Iterator[Handover]:
        """The handover, with progress and notes on stderr; closed afterwards."""
        from khodump.api import open_handover, open_live_handover

        self._check()
        terminal.spare(self.inputs)
        with self.advising(), terminal.noting(), terminal.progress("searching for the root FDT") as progress:
            if self.live:
                handover = open_live_handover(progress=progress, **self._live_options)
            else:
                handover = open_handover(self.paths, progress=progress, **self.options)
        handover = self.worded(handover)
        with self.advising(), handover:
            for note in handover.notes:
                terminal.note(told(note, self.invocation))
            with terminal.progress("walking the map", "pages") as watch:
                yield replace(handover, watch=watch)

    @contextmanager
    def suspect(self, terminal: Voice) -> Iterator[Handover | Broken]:
        """As `opened`, for one that may be broken."""
        from khodump.api import open_live_suspect, open_suspect
        from khodump.handover import Handover

        self._check()
        terminal.spare(self.inputs)
        with self.advising(), terminal.noting(), terminal.progress("searching for the root FDT") as progress:
            if self.live:
                suspect = open_live_suspect(progress=progress, **self._live_options)
            else:
                suspect = open_suspect(self.paths, progress=progress, **self.options)
        with self.advising(), suspect:
            for note in suspect.notes:
                terminal.note(told(note, self.invocation))
            if not isinstance(suspect, Handover):
                yield suspect
                return
            with terminal.progress("walking the map", "pages") as watch:
                yield replace(suspect, watch=watch)

    @contextmanager
    def opened_or_broken(self, terminal: Voice) -> Iterator[Handover | Broken]:
        """As `opened`; where there is no handover, but a root FDT, what is left of it, to be shown before that error.

        Unlike `suspect`, versions that nobody knows are not read as others.
        """
        from khodump.errors import FdtError, NoHandoverError
        from khodump.opening.broken import Broken

        with ExitStack() as opening:
            suspect: Handover | Broken
            try:
                suspect = opening.enter_context(self.opened(terminal))
            except (NoHandoverError, FdtError) as error:
                rest = opening.enter_context(self.suspect(replace(terminal, quiet=True)))
                suspect = Broken(rest.memory, rest.fdt.phys if rest.fdt else None, b"", rest.fdt, error)
                if isinstance(rest, Broken):
                    suspect = replace(rest, problem=error)
            yield suspect

    @property
    def named_images(self) -> list[str]:
        """The images that are named; none with --live."""
        return self.images or []

    @property
    def _live_options(self) -> LiveOptions:
        return {"incoming": self.incoming, "version": self.as_, "page_size": self.page_bytes}

    def _check(self) -> None:
        """Refuse what does not go together."""
        describing = (self.fdt, self.root, self.ranges, self.scratch, self.assume_zero, self.force_placement)
        if self.live and (self.named_images or any(describing)):
            raise UsageError(
                "--live names this machine's memory and FDT itself",
                hint="leave the image, and what describes one, out",
            )
        if self.incoming and not self.live:
            raise UsageError(
                "--in goes with --live",
                hint="for an image, pass the FDT with --fdt, or none to search for it",
            )
        if not self.live and not self.named_images:
            raise UsageError("no memory image named", hint="name an image, or this machine with --live")

    @property
    def options(self) -> Options:
        """What `khodump.api` takes besides the files."""
        return {
            "fdt": self.fdt_argument,
            "root": None if self.root is None else parse_number(self.root, self.option(ROOT)),
            "version": self.as_,
            "page_size": self.page_bytes,
            "assume_zero": self.assume_zero,
            "ranges": self.ranges,
            "force_placement": self.force_placement,
            "scratch": self.scratch or (),
        }


def named_fdt(text: str, option: str) -> str | int:
    """A file name, or a physical address where the text is one and no such file exists."""
    if not text.lower().startswith("0x") or os.path.exists(text):  # noqa: PTH110 - Path.exists raises for a name that is too long
        return text
    return parse_number(text, option)
