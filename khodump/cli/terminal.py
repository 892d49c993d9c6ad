"""How one run talks: data to stdout or a file, the rest to stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, NamedTuple, TextIO

import typer

from khodump.cli import pager
from khodump.cli.command import Status
from khodump.cli.progress import Bar
from khodump.cli.streams import say
from khodump.errors import KhodumpError, UsageError
from khodump.extras import require_arrow
from khodump.output.files import is_stdout, new_text, refuse, refuse_stdout
from khodump.output.formats import Format
from khodump.output.text import printable

if TYPE_CHECKING:
    from khodump.findings import Finding
    from khodump.handover import Handover
    from khodump.opening.locate import Progress
    from khodump.rows import Block, Result, Tail

#: The help of --force, which every command has that has --output.
FORCE: Final = "Replace FILE if it exists."
_SHOWN_FINDINGS: Final = 10


class Color(StrEnum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Screen(NamedTuple):
    """Where drawings go.

    Attributes:
        width: characters a line; 80, or what COLUMNS says, where there is no terminal.
        encoding: of the characters.
        color: whether to use any.
    """

    width: int
    encoding: str
    color: bool


@dataclass(frozen=True)
class Voice:
    """What goes to stderr."""

    heading: ClassVar = "Output options"

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes, warnings or summary on stderr.")] = (
        False
    )
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Everything on stderr, not the first few findings.")
    ] = False

    def note(self, text: str) -> None:
        """A line for the person, on stderr."""
        if not self.quiet:
            say(f"khodump: {printable(text)}")

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Pass on the notes of an error that ends the block, before it goes on its way."""
        try:
            yield
        except KhodumpError as error:
            for note in error.notes:
                self.note(note)
            raise

    def spare(self, inputs: Sequence[str]) -> None:
        """Refuse to write where one of these is."""
        refuse_stdout(inputs)

    def warn(self, findings: Sequence[Finding]) -> None:
        """The first findings on stderr, or all; and how many there are more."""
        shown = findings if self.verbose else findings[:_SHOWN_FINDINGS]
        for finding in shown:
            self.note(f"{finding.severity}: {finding.rule}: {finding.message}")
        if len(shown) < len(findings):
            self.note(f"{len(findings) - len(shown)} more findings: -v shows all, --format json holds them")

    def told(self, handovers: Iterable[Handover]) -> Status:
        """Tell what is wrong with handovers, or missing of them; the status says whether anything was amiss."""
        return self.said([finding for handover in handovers for finding in handover.all_findings])

    def said(self, findings: Sequence[Finding]) -> Status:
        """Tell what is wrong; the status says whether anything is amiss."""
        self.warn(findings)
        errors = any(finding.severity == "error" for finding in findings)
        return Status.PARTIAL if errors else Status.DONE

    @contextmanager
    def progress(self, what: str, unit: str | None = None) -> Iterator[Progress | None]:
        """A progress bar on stderr while something long runs, on a terminal only; counts bytes, or what `unit` says."""
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        bar = Bar(what, unit)
        try:
            yield bar
        finally:
            bar.close()


@dataclass(frozen=True)
class Display(Voice):
    """How rows look on stdout."""

    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="csv, tsv and jsonl hold rows alone, json everything; parquet takes the extra arrow.",
        ),
    ] = Format.TABLE
    color: Annotated[Color, typer.Option(help="Colour in tables; NO_COLOR is honoured.")] = Color.AUTO

    no_pager: Annotated[
        bool, typer.Option("--no-pager", help="Do not page tables that are longer than the window.")
    ] = False

    def __post_init__(self) -> None:
        """Refuse at once what could not be written after a long search."""
        if self.format_ is not Format.PARQUET:
            return
        if self.on_terminal:
            raise UsageError("parquet is binary, and stdout is a terminal", hint="send it to a file: > FILE")
        require_arrow("parquet")

    @property
    def on_terminal(self) -> bool:
        """Whether a person is to read the data as it comes."""
        return sys.stdout.isatty()

    def write(self, result: Result) -> Status:
        """Write the data, then findings and summary to stderr; the status says whether anything was amiss."""
        from khodump.output.write import write

        width = None
        if self.format_ is Format.TABLE:
            head = result.head()  # what takes long happens before the terminal shows data
            result = replace(result, head=lambda: head)
        if self.on_terminal:
            width = shutil.get_terminal_size().columns
            Bar.silent = True
        with self._stream(paged=self.format_ is Format.TABLE) as stream, self._counted(result) as counted:
            tail = write(counted, self.format_, stream, color=self._colored(), width=width)
            stream.flush()
        return self.conclude(tail)

    def conclude(self, tail: Tail) -> Status:
        """Findings and summary to stderr; the status says whether anything was amiss."""
        self.warn(tail.findings)
        self.note(tail.summary)
        errors = any(finding.severity == "error" for finding in tail.findings)
        return Status.PARTIAL if errors or tail.is_partial else Status.DONE

    def draw(self, lines: Callable[[Screen], Iterable[str]]) -> None:
        """Write lines that depend on where they go, and that are harmless as they are."""
        with self._stream(paged=False) as stream:
            width = shutil.get_terminal_size().columns
            screen = Screen(width, stream.encoding or "ascii", self._colored())
            stream.writelines(f"{line}\n" for line in lines(screen))
            stream.flush()

    def write_lines(self, lines: Iterable[str]) -> Status:
        """Write text that is data, and harmless as it is: device-tree source, say."""
        with self._stream(paged=True) as stream:
            stream.writelines(f"{line}\n" for line in lines)
            stream.flush()
        return Status.DONE

    @contextmanager
    def _counted(self, result: Result) -> Iterator[Result]:
        """The result, with a progress bar for its rows where they do not go to the terminal themselves."""
        if self.on_terminal:
            yield result
            return
        with self.progress(f"writing {result.rows.name}", "rows") as progress:
            blocks = result.rows.blocks if progress is None else _watched(result.rows.blocks, progress)
            yield replace(result, rows=result.rows._replace(blocks=blocks))

    @contextmanager
    def _stream(self, *, paged: bool) -> Iterator[TextIO]:
        if isinstance(sys.stdout, TextIOWrapper):  # not so in a notebook
            sys.stdout.reconfigure(errors="backslashreplace")
        if not paged or self.no_pager or not self.on_terminal:
            yield sys.stdout
            return
        with pager.paged() as stream:
            yield stream

    def _colored(self) -> bool:
        if self.color is Color.AUTO:
            return self.on_terminal and not os.environ.get("NO_COLOR")
        return self.color is Color.ALWAYS


@dataclass(frozen=True)
class Terminal(Display):
    """Where rows go, and how they look."""

    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of stdout.")
    ] = None
    force: Annotated[bool, typer.Option("--force", help=FORCE)] = False

    def spare(self, inputs: Sequence[str]) -> None:
        """See `Voice.spare`."""
        if self.output is None:
            super().spare(inputs)
        else:
            refuse(self.output, force=self.force, inputs=inputs)

    @property
    def on_terminal(self) -> bool:
        """See Display."""
        return is_stdout(self.output) and super().on_terminal

    @contextmanager
    def _stream(self, *, paged: bool) -> Iterator[TextIO]:
        if self.output is None or is_stdout(self.output):
            with super()._stream(paged=paged) as stream:
                yield stream
            return
        with new_text(self.output, force=self.force) as stream:
            yield stream


def _watched(blocks: Iterable[Block], progress: Progress) -> Iterator[Block]:
    """The same blocks; their rows are counted as they pass."""
    done = 0
    for block in blocks:
        yield block
        done += len(block[0])
        progress(done, 0)
