"""The commands behind `%kho`: khodump's own, on a program instead of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Annotated, Final, TypedDict

import typer
from drgn import Program
from drgn.commands import CommandError
from typer.main import get_command

from khodump.advice import PAGE_SIZE, Invocation, given, told
from khodump.cli.command import Status
from khodump.cli.command import command as _command
from khodump.cli.image import VERSION_HELP
from khodump.cli.terminal import Terminal, Voice
from khodump.drgn.opening import open_program, open_program_leniently
from khodump.errors import KhodumpError
from khodump.handover import Handover
from khodump.numbers import parse_number, parse_order, parse_range
from khodump.opening.mapless import MaplessRoot
from khodump.output.text import printable

_program: ContextVar[Program] = ContextVar("program")
_COMMANDS: Final = ("inspect", "check", "owners", "sessions", "lookup")


class _Options(TypedDict):
    """How to open a program's handover."""

    incoming: bool
    fdt: int | None
    search: bool
    version: str | None
    page_size: int | None


@dataclass(frozen=True)
class ProgramSource:
    """The handover of the program that `%kho` runs on."""

    incoming: Annotated[
        bool, typer.Option("--in", help="What this kernel received, not what it hands over.")
    ] = False
    fdt: Annotated[
        str | None, typer.Option(metavar="0xPHYS", help="The root FDT's address. Default: what kho_out says.")
    ] = None
    search: Annotated[
        bool, typer.Option("--search", help="Search the memory for the root FDT, whatever kho_out says.")
    ] = False
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="VERSION", help=VERSION_HELP),
    ] = None
    page_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The kernel's page size: 4K, 16K or 64K.")
    ] = None

    @property
    def invocation(self) -> Invocation:
        """How the handover was named, for commands that are to look at it again."""
        options = {
            "--in": self.incoming,
            "--search": self.search,
            "--fdt": self.fdt,
            "--as": self.as_,
            "--page-size": self.page_size,
        }
        return Invocation(handover_options=given(options), program="%kho", commands=_COMMANDS)

    @contextmanager
    def opened(self, voice: Voice) -> Iterator[Handover]:
        """The handover, with notes on stderr."""
        with voice.noting(), voice.progress("searching for the root FDT") as progress:
            handover = open_program(_program.get(), progress=progress, **self._options)
        if self.page_size is not None:
            handover = replace(handover, geometry_reason=PAGE_SIZE.as_option())
        with handover:
            for note in handover.notes:
                voice.note(told(note))
            yield handover

    @contextmanager
    def opened_leniently(self, voice: Voice) -> Iterator[Handover | MaplessRoot]:
        """As `opened`; a root FDT that leads to no map is no error, and versions that nobody knows are read as the newest."""
        with voice.noting(), voice.progress("searching for the root FDT") as progress:
            opened = open_program_leniently(_program.get(), progress=progress, **self._options)
        with opened:
            for note in opened.notes:
                voice.note(told(note))
            yield opened

    @property
    def _options(self) -> _Options:
        return {
            "incoming": self.incoming,
            "fdt": None if self.fdt is None else parse_number(self.fdt, "--fdt"),
            "search": self.search,
            "version": self.as_,
            "page_size": None if self.page_size is None else parse_number(self.page_size, "--page-size"),
        }


app = typer.Typer(
    name="%kho",
    help="The Kexec HandOver state of this kernel.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run(program: Program, name: str, args: Sequence[str]) -> int:
    """Run a command on `program`; returns its exit status, which is 2 for arguments that make no sense.

    Raises:
        CommandError: it cannot be done.
    """
    token = _program.set(program)
    try:
        # Not app(): that puts a hook for exceptions into drgn's process.
        get_command(app).main(list(args), prog_name=f"%{name}")
    except SystemExit as ended:
        return int(ended.code or Status.DONE)
    except KhodumpError as error:
        text = str(error.at_prompt())
        hint = f"\n  hint: {printable(error.hint)}" if error.hint else ""
        raise CommandError(f"{printable(text)}{hint}") from error
    finally:
        _program.reset(token)
    return Status.DONE


def _ended(called: Callable[[], Status]) -> Status:
    """The status of a command; drgn handles its errors, for it is not the process that ends."""
    try:
        return called()
    except BrokenPipeError:
        return Status.DONE  # the reader has what it wanted, as with `| head`


def command(function: Callable[..., Status]) -> Callable[..., None]:
    """See `khodump.cli.command.command`."""
    return _command(function, ending=_ended)


@app.command()
@command
def inspect(
    source: ProgramSource,
    terminal: Terminal,
    pages: Annotated[bool, typer.Option("--pages", help="List every preservation instead of runs.")] = False,
    owners: Annotated[bool, typer.Option("--owners", help="Say whose each is.")] = False,
    order: Annotated[
        list[str] | None, typer.Option(metavar="N", help="Only this order; may be repeated.")
    ] = None,
    range_: Annotated[
        str | None,
        typer.Option("--range", metavar="START-END", help="Only what touches these addresses."),
    ] = None,
) -> Status:
    """List everything that is preserved."""
    from khodump.tables.inspect import Selection
    from khodump.tables.inspect import inspect as analyse

    start, end = parse_range(range_, "--range") if range_ else (0, None)
    selection = Selection(tuple(map(parse_order, order)) if order else None, start, end)
    with source.opened(terminal) as handover:
        return terminal.write(analyse(handover, selection, pages=pages, walk_order=False, owners=owners))


@app.command()
@command
def check(
    source: ProgramSource,
    terminal: Terminal,
    next_: Annotated[
        str | None,
        typer.Option("--next", metavar="KERNEL", help="The kernel that is to receive it: kho-v4, or 7.3."),
    ] = None,
) -> Status:
    """Say what is wrong with the handover, and what the next kernel will do with it."""
    from khodump.abi.kernels import kernel_named
    from khodump.checking.checkup import examine
    from khodump.findings import Severity
    from khodump.tables import check as tables

    kernel = None if next_ is None else kernel_named(next_)
    with source.opened_leniently(terminal) as opened:
        checkup = examine(opened, kernel)
        terminal.write(tables.check(opened, checkup, kernel, source.invocation))
    if checkup.is_wrong(Severity.ERROR):
        return Status.FOUND
    return Status.PARTIAL if checkup.reaches(Severity.ERROR) else Status.DONE


@app.command()
@command
def owners(source: ProgramSource, terminal: Terminal) -> Status:
    """Say whose the preserved memory is."""
    from khodump.tables.owners import owners as analyse

    with source.opened(terminal) as handover:
        return terminal.write(analyse(handover))


@app.command()
@command
def sessions(
    source: ProgramSource,
    terminal: Terminal,
    session: Annotated[str | None, typer.Option(metavar="NAME", help="Only this session.")] = None,
) -> Status:
    """List LUO's sessions and files."""
    from khodump.tables.sessions import sessions as analyse

    with source.opened(terminal) as handover:
        return terminal.write(analyse(handover, session=session, token=None))


@app.command()
@command
def lookup(
    source: ProgramSource,
    terminal: Terminal,
    addresses: Annotated[
        list[str], typer.Argument(metavar="ADDR...", help="Physical addresses.", show_default=False)
    ],
) -> Status:
    """Say of physical addresses whether they are preserved, and by whom."""
    from khodump.tables.lookup import lookup as analyse

    with source.opened(terminal) as handover:
        return terminal.write(analyse(handover, [parse_number(text, "ADDR") for text in addresses]))
