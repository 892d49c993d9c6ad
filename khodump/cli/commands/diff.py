"""`khodump diff`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from khodump.advice import FDT, PAGE_SIZE, RANGES, SCRATCH, VERSION, Parameter
from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.image import ASSUME_ZERO_HELP, PAGE_SIZE_HELP, RANGES_HELP, VERSION_HELP
from khodump.cli.source import FDT_HELP, SCRATCH_HELP, Source
from khodump.cli.terminal import Terminal, Voice
from khodump.errors import KhodumpError, UsageError

if TYPE_CHECKING:
    from khodump.handover import Handover

#: What each side has an option of its own for.
_OF_A_SIDE = (FDT, VERSION, PAGE_SIZE, SCRATCH, RANGES)
_OF_BOTH = "As for khodump inspect, of that side."


def _file(metavar: str, help_: str = _OF_BOTH) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(metavar=metavar, help=help_)
    return option


@dataclass(frozen=True)
class Pair:
    """Two handovers."""

    old: Annotated[
        str | None,
        typer.Argument(metavar="OLD", help="Memory image, as for khodump inspect.", show_default=False),
    ] = None
    new: Annotated[
        str | None,
        typer.Argument(metavar="NEW", help="Another, or the same with another FDT.", show_default=False),
    ] = None
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Instead of NEW, this machine: what its kernel prepares. Without OLD, against what it received.",
        ),
    ] = False
    incoming: Annotated[
        bool, typer.Option("--in", help="With OLD and --live: what this kernel received.")
    ] = False
    fdt_old: Annotated[
        str | None,
        _file(
            "FILE|0xPHYS",
            FDT_HELP,
        ),
    ] = None
    fdt_new: Annotated[str | None, _file("FILE|0xPHYS")] = None
    scratch_old: Annotated[
        list[str] | None,
        _file("FILE", SCRATCH_HELP),
    ] = None
    scratch_new: Annotated[list[str] | None, _file("FILE")] = None
    as_old: Annotated[str | None, _file("VERSION", VERSION_HELP)] = None
    as_new: Annotated[str | None, _file("VERSION")] = None
    page_size_old: Annotated[
        str | None,
        _file("SIZE", PAGE_SIZE_HELP),
    ] = None
    page_size_new: Annotated[str | None, _file("SIZE")] = None
    image_old: Annotated[
        list[str] | None, _file("IMAGE", "A further file of the image; may be repeated.")
    ] = None
    image_new: Annotated[list[str] | None, _file("IMAGE")] = None
    ranges_old: Annotated[
        str | None,
        _file("FILE", RANGES_HELP),
    ] = None
    ranges_new: Annotated[str | None, _file("FILE")] = None
    assume_zero: Annotated[bool, typer.Option("--assume-zero", help=ASSUME_ZERO_HELP)] = False
    force_placement: Annotated[
        bool,
        typer.Option(
            "--force-placement", help="Read all of raw files, even where only a guess says where they belong."
        ),
    ] = False

    @property
    def _old(self) -> _Side:
        """What names the old side."""
        source = _Side(
            [] if self.old is None else [self.old, *(self.image_old or [])],
            as_=self.as_old,
            page_size=self.page_size_old,
            assume_zero=self.assume_zero,
            ranges=self.ranges_old,
            force_placement=self.force_placement,
            fdt=self.fdt_old,
            scratch=self.scratch_old,
            side="old",
        )
        return replace(source, live=True, incoming=True) if self.old is None else source

    @property
    def _new(self) -> _Side:
        """What names the new side; what is said of both is said of the old one alone, where the new one is the machine."""
        source = _Side(
            [] if self.new is None else [self.new, *(self.image_new or [])],
            as_=self.as_new,
            page_size=self.page_size_new,
            ranges=self.ranges_new,
            fdt=self.fdt_new,
            scratch=self.scratch_new,
            side="new",
        )
        if self.live:
            return replace(source, live=True, incoming=self.incoming)
        return replace(source, assume_zero=self.assume_zero, force_placement=self.force_placement)

    def check(self) -> None:
        """Refuse what does not name two handovers.

        Raises:
            UsageError: there are more, or fewer, than two.
        """
        if self.live and self.new is not None:
            raise UsageError("--live stands for NEW, which is named as well", hint="name OLD alone")
        if self.incoming and not (self.live and self.old):
            raise UsageError("--in goes with OLD and --live", hint="khodump diff OLD --live --in")
        if not self.live and self.new is None:
            raise UsageError(
                "two memory images are needed", hint="khodump diff OLD NEW, or khodump diff OLD --live"
            )

    @contextmanager
    def opened(self, terminal: Voice) -> Iterator[tuple[Handover, Handover]]:
        """Both handovers, as `Source.opened`; what goes wrong says on which side."""
        old, new = self._old, self._new
        for side, source in (("old", old), ("new", new)):
            with _blaming(side):
                source.check()
                terminal.spare(source.inputs)
                source.options  # noqa: B018 - what makes no sense is said before anything is read
        with _opened("old", old, terminal) as before, _opened("new", new, terminal) as after:
            yield before, after


@dataclass(frozen=True)
class _Side(Source):
    """One of the two, which has its own options for what differs between them."""

    side: str = ""

    def option(self, parameter: Parameter) -> str:
        """See `Image.option`."""
        if not any(parameter.keyword == each.keyword for each in _OF_A_SIDE):
            return super().option(parameter)
        return replace(parameter, option=f"{parameter.option}-{self.side}").as_option()


@dataclass(frozen=True)
class _SideVoice(Voice):
    """A voice that says which side it speaks of."""

    side: str = ""

    def note(self, text: str) -> None:
        """See `Voice.note`."""
        super().note(f"{self.side}: {text}")


@contextmanager
def _opened(side: str, source: _Side, terminal: Voice) -> Iterator[Handover]:
    with ExitStack() as stack:
        with _blaming(side):
            voice = _SideVoice(terminal.quiet, terminal.verbose, side)
            handover = stack.enter_context(source.opened(voice))
        yield handover


@contextmanager
def _blaming(side: str) -> Iterator[None]:
    """Errors say on which side they are."""
    try:
        yield
    except KhodumpError as error:  # no handover, too, is trouble: 2, as for diff(1)
        raise UsageError(f"{side}: {error.at_prompt()}", hint=error.hint) from error


@command(
    examples=[
        Example(
            "diff before vmcore", "What is preserved at one moment and not at another, and what that means"
        ),
        Example("diff vmcore next --stat", "Totals alone"),
        Example("diff vmcore next --owners --format json", "Every run that differs, and whose it is"),
    ]
)
def diff(
    pair: Pair,
    terminal: Terminal,
    pages: Annotated[
        bool, typer.Option("--pages", help="List block by block, in the smaller of the two sides' sizes.")
    ] = False,
    stat: Annotated[bool, typer.Option("--stat", help="Totals alone, no runs.")] = False,
    owners: Annotated[
        bool, typer.Option("--owners", help="Say whose each is, and cut runs where owners change.")
    ] = False,
) -> Status:
    """Compare two handovers: what is preserved, and what it means. Ends with 0 if alike, 1 if not, 2 if in doubt."""
    from khodump.tables.diff import Diff

    if stat and (pages or owners):
        raise UsageError("--stat lists no runs", hint="leave --pages and --owners out")
    pair.check()
    with pair.opened(terminal) as (old, new):
        found = Diff(old, new, owners=owners, stat=stat)
        terminal.write(found.result(pages=pages))
        if found.differ:
            return Status.FOUND
        return Status.DONE if found.complete else Status.BAD_REQUEST
