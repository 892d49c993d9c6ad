"""What every command does around its one call: stdout for data, stderr for the rest, a documented exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TextIO

import typer

from khodump.cli.options import Color
from khodump.errors import KhodumpError, NoHandoverError, UsageError
from khodump.output.formats import Format
from khodump.output.text import printable

if TYPE_CHECKING:
    from khodump.findings import Finding
    from khodump.locate import Progress
    from khodump.rows import Result

P = ParamSpec("P")

_SHOWN_FINDINGS: Final = 10


class Status(IntEnum):
    """Exit statuses; 1 is for commands that look for differences or findings."""

    DONE = 0
    FOUND = 1
    BAD_REQUEST = 2
    NO_HANDOVER = 3
    PARTIAL = 4
    INTERRUPTED = 130


def command(function: Callable[P, Status]) -> Callable[P, None]:
    """A command that ends with a documented status and a message, never with a traceback for bad input."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = function(*args, **kwargs)
            sys.stdout.flush()
        except KhodumpError as error:
            complain(str(error), error.hint)
            status = Status.NO_HANDOVER if isinstance(error, NoHandoverError) else Status.BAD_REQUEST
        except BrokenPipeError:
            status = Status.DONE  # the reader has what it wanted, as with `| head`
            _silence_stdout()
        except OSError as error:
            complain(
                f"cannot write the output: {error.strerror}",
                "free some space, or write elsewhere with --output",
            )
            status = Status.BAD_REQUEST
            _silence_stdout()
        except KeyboardInterrupt:
            complain("interrupted")
            status = Status.INTERRUPTED
            _silence_stdout()
        raise typer.Exit(status)

    return run


def complain(message: str, hint: str | None = None) -> None:
    """An error on stderr, and what to do next."""
    typer.echo(f"khodump: {printable(message)}", err=True)
    if hint:
        typer.echo(f"  hint: {printable(hint)}", err=True)


def _silence_stdout() -> None:
    """Keep the interpreter from flushing what is left to a stdout that fails."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True)
class Terminal:
    """How one run talks.

    Attributes:
        format_: of the data.
        output: file for the data; None is stdout.
        color: when to colour.
        quiet: nothing on stderr but errors.
        verbose: all findings on stderr.
    """

    format_: Format
    output: str | None = None
    color: Color = Color.AUTO
    quiet: bool = False
    verbose: bool = False

    def note(self, text: str) -> None:
        """A line for the person, on stderr."""
        if not self.quiet:
            typer.echo(f"khodump: {printable(text)}", err=True)

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
        if self.output is None:
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIOWrapper when real
            yield sys.stdout
            return
        try:
            stream = open(self.output, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - opening alone may be refused
        except OSError as error:
            raise UsageError(f"cannot write {self.output}: {error.strerror}") from error
        with stream:
            yield stream

    def _colored(self, stream: TextIO) -> bool:
        if self.color is Color.AUTO:
            return stream.isatty() and not os.environ.get("NO_COLOR")
        return self.color is Color.ALWAYS

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
