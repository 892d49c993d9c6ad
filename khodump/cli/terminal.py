"""How one run talks: data to stdout or a file, the rest to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, TextIO

import typer

from khodump.cli.command import Status
from khodump.errors import UsageError
from khodump.output.formats import Format
from khodump.output.text import printable

if TYPE_CHECKING:
    from khodump.findings import Finding
    from khodump.locate import Progress
    from khodump.rows import Result

_SHOWN_FINDINGS: Final = 10


class Color(StrEnum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


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
            typer.echo(f"khodump: {printable(text)}", err=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress | None]:
        """A progress bar on stderr while something long runs, on a terminal only."""
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


@dataclass(frozen=True)
class Display(Voice):
    """How rows look on stdout."""

    format_: Annotated[
        Format, typer.Option("--format", "-f", help="csv, tsv and jsonl hold rows alone, json everything.")
    ] = Format.TABLE
    color: Annotated[Color, typer.Option(help="Colour in tables; NO_COLOR is honoured.")] = Color.AUTO

    def write(self, result: Result) -> Status:
        """Write the data, then findings and summary to stderr; the status says whether anything was amiss."""
        from khodump.output.write import write

        with self._stream() as stream:
            tail = write(result, self.format_, stream, color=self._colored(stream))
            stream.flush()
        self._warn(tail.findings)
        self.note(tail.summary)
        errors = any(finding.severity == "error" for finding in tail.findings)
        return Status.PARTIAL if errors else Status.DONE

    def write_lines(self, lines: Iterable[str]) -> Status:
        """Write text that is data, and harmless as it is: device-tree source, say."""
        with self._stream() as stream:
            stream.writelines(f"{line}\n" for line in lines)
            stream.flush()
        return Status.DONE

    def _warn(self, findings: Sequence[Finding]) -> None:
        shown = findings if self.verbose else findings[:_SHOWN_FINDINGS]
        for finding in shown:
            self.note(f"{finding.severity}: {finding.rule}: {finding.message}")
        if len(shown) < len(findings):
            self.note(f"{len(findings) - len(shown)} more findings: -v shows all, --format json holds them")

    @contextmanager
    def _stream(self) -> Iterator[TextIO]:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIOWrapper when real
        yield sys.stdout

    def _colored(self, stream: TextIO) -> bool:
        if self.color is Color.AUTO:
            return stream.isatty() and not os.environ.get("NO_COLOR")
        return self.color is Color.ALWAYS


@dataclass(frozen=True)
class Terminal(Display):
    """Where rows go, and how they look."""

    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of stdout.")
    ] = None

    @contextmanager
    def _stream(self) -> Iterator[TextIO]:
        if self.output is None:
            with super()._stream() as stream:
                yield stream
            return
        try:
            stream = open(self.output, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - opening alone may be refused
        except OSError as error:
            raise UsageError(f"cannot write {self.output}: {error.strerror}") from error
        with stream:
            yield stream
