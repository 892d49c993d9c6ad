"""The options that name a handover, for all commands that read one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Final, TypedDict, TypeVar

import typer

from khodump.advice import FDT, ROOT, Invocation, given, told
from khodump.cli.image import ImageOrMachine
from khodump.cli.terminal import Voice
from khodump.errors import UsageError
from khodump.numbers import parse_number

if TYPE_CHECKING:
    from khodump.handover import Handover
    from khodump.opening.mapless import MaplessRoot

_Opened = TypeVar("_Opened")


#: What is said of options that several commands have.
FDT_HELP: Final = "The root FDT: a .dtb file, or its physical address. Default: where the kernel in the image says, else search."
SCRATCH_HELP: Final = "debugfs' scratch_phys, and again for scratch_len; or their directory."


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
class Source(ImageOrMachine):
    """A handover in a memory image, or that of the machine this runs on."""

    incoming: Annotated[bool, typer.Option("--in", help="With --live: what this kernel received.")] = False
    fdt: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|0xPHYS",
            help=FDT_HELP,
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
        typer.Option(metavar="FILE", help=SCRATCH_HELP),
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
        named = {"--in": self.incoming, "--fdt": self.fdt, "--root": self.root}
        scratch = tuple(("--scratch", file) for file in self.scratch or ())
        fdt = self.fdt_argument
        fdt_file = fdt if isinstance(fdt, str) else None
        return replace(super().invocation, handover_options=(*given(named), *scratch), fdt_file=fdt_file)

    @contextmanager
    def opened(self, terminal: Voice) -> Iterator[Handover]:
        """The handover, with progress and notes on stderr; closed afterwards."""
        from khodump.api import open_handover, open_live_handover

        handover = self.worded(self._found(terminal, open_handover, open_live_handover))
        with self.advising(), handover:
            for note in handover.notes:
                terminal.note(told(note, self.invocation))
            with terminal.progress("walking the map", "pages") as watch:
                yield replace(handover, watch=watch)

    @contextmanager
    def opened_leniently(self, terminal: Voice) -> Iterator[Handover | MaplessRoot]:
        """As `opened`; a root FDT that leads to no map is no error, and versions that nobody knows are read as the newest."""
        from khodump.api import open_leniently, open_live_leniently
        from khodump.handover import Handover

        opened = self._found(terminal, open_leniently, open_live_leniently)
        with self.advising(), opened:
            for note in opened.notes:
                terminal.note(told(note, self.invocation))
            if not isinstance(opened, Handover):
                yield opened
                return
            with terminal.progress("walking the map", "pages") as watch:
                yield replace(opened, watch=watch)

    @contextmanager
    def opened_or_mapless(self, terminal: Voice) -> Iterator[Handover | MaplessRoot]:
        """As `opened`; where there is no handover, but a root FDT, what is left of it, to be shown before that error.

        Unlike with `opened_leniently`, versions that nobody knows are not read as others.
        """
        from khodump.errors import FdtError, NoHandoverError
        from khodump.opening.mapless import MaplessRoot

        with ExitStack() as opening:
            opened: Handover | MaplessRoot
            try:
                opened = opening.enter_context(self.opened(terminal))
            except (NoHandoverError, FdtError) as error:
                rest = opening.enter_context(self.opened_leniently(replace(terminal, quiet=True)))
                opened = MaplessRoot(rest.memory, rest.fdt.phys if rest.fdt else None, b"", rest.fdt, error)
                if isinstance(rest, MaplessRoot):
                    opened = replace(rest, problem=error)
            yield opened

    def _found(
        self, terminal: Voice, of_image: Callable[..., _Opened], of_machine: Callable[..., _Opened]
    ) -> _Opened:
        """What the one or the other of these opens."""
        self.check()
        terminal.spare(self.inputs)
        with self.advising(), terminal.noting(), terminal.progress("searching for the root FDT") as progress:
            if self.live:
                return of_machine(progress=progress, **self._live_options)
            return of_image(self.paths, progress=progress, **self.options)

    @property
    def _live_options(self) -> LiveOptions:
        return {"incoming": self.incoming, "version": self.as_, "page_size": self.page_bytes}

    @property
    def describes_image(self) -> bool:
        """See `ImageOrMachine.describes_image`."""
        return super().describes_image or any((self.fdt, self.root, self.scratch))

    def check(self) -> None:
        """See `ImageOrMachine.check`."""
        if self.incoming and not self.live:
            raise UsageError(
                "--in goes with --live",
                hint="for an image, pass the FDT with --fdt, or none to search for it",
            )
        super().check()

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
