"""What makes a function a command: shared options, a documented exit status, and no traceback for bad input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import IntEnum
from functools import cache
from inspect import Parameter, Signature, signature
from typing import Any, Final, get_type_hints, overload

import typer

from khodump.cli.help import OPTIONS, Example
from khodump.cli.streams import say, silence
from khodump.errors import KhodumpError, NoHandoverError
from khodump.output.text import printable


class Status(IntEnum):
    """Exit statuses; 1 is for commands that look for differences or findings."""

    DONE = 0
    FOUND = 1
    BAD_REQUEST = 2
    NO_HANDOVER = 3
    PARTIAL = 4
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """What it says, for README and man pages."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    Status.DONE: "done",
    Status.FOUND: "differences or findings, for commands that look for them",
    Status.BAD_REQUEST: "bad usage, or a file that cannot be opened; for diff, any doubt whether both sides are alike",
    Status.NO_HANDOVER: "no KHO handover there, or of no version that khodump reads",
    Status.PARTIAL: "partial: something was missing or damaged; what could be read was printed",
    Status.INTERRUPTED: "interrupted",
}

#: Calls a command and makes a status of whatever happens.
Ending = Callable[[Callable[[], Status]], Status]


@overload
def command(function: Callable[..., Status], *, ending: Ending | None = None) -> Callable[..., None]: ...


@overload
def command(*, examples: Sequence[Example]) -> Callable[[Callable[..., Status]], Callable[..., None]]: ...


def command(
    function: Callable[..., Status] | None = None,
    *,
    examples: Sequence[Example] = (),
    ending: Ending | None = None,
) -> Callable[..., None] | Callable[[Callable[..., Status]], Callable[..., None]]:
    """Make a function a command for typer.

    A parameter whose type is a dataclass (`Source`, `Terminal`) stands for all of its fields, each declared as an
    option there, so that options which many commands share are written down once. Such a class may have a `heading`,
    under which help shows them.

    Args:
        function: the command; its docstring is its help.
        examples: what its help, its man page and the tests show of it.
        ending: how it ends; by default as a process of its own.
    """
    if function is None:
        return lambda function: _command(function, tuple(examples), ending or _ended)
    return _command(function, tuple(examples), ending or _ended)


def _command(
    function: Callable[..., Status], examples: tuple[Example, ...], ending: Ending
) -> Callable[..., None]:
    """What typer is given: a function that takes the fields of all groups one by one, and ends the process."""
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}

    def called(values: dict[str, Any]) -> Status:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return function(**values)

    def run(**values: Any) -> None:  # noqa: ANN401 - options are of any type
        raise typer.Exit(ending(lambda: called(values)))

    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    run.__annotations__ = {}  # typer asks the signature
    run.__signature__ = _signature(function, hints, groups)  # type: ignore[attr-defined]
    run.__dict__.update(examples=examples, headings=_headings(groups))  # for khodump.cli.help
    return run


def _signature(function: Callable[..., Status], hints: dict[str, Any], groups: dict[str, type]) -> Signature:
    """Arguments as they stand in the usage line; then the command's own options; then those it shares with others."""
    own = [
        parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY)
        for name, parameter in signature(function).parameters.items()
        if name not in groups
    ]
    shared = [parameter for group in groups.values() for parameter in _parameters(group)]
    arguments = [parameter for parameter in (*shared, *own) if _is_argument(parameter)]
    options = [parameter for parameter in (*own, *shared) if not _is_argument(parameter)]
    return Signature([*arguments, *options])


def _headings(groups: dict[str, Any]) -> dict[str, str]:
    """Under which heading help shows each option of the groups."""
    headings = {}
    for group in groups.values():
        for field in fields(group):
            headings[field.name] = getattr(group, "heading", OPTIONS)
    return headings


@cache
def _parameters(group: type) -> tuple[Parameter, ...]:
    """The fields of a group as parameters, each declared by its own annotation."""
    hints = get_type_hints(group, include_extras=True)
    declared: tuple[Field[Any], ...] = fields(group)
    return tuple(
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in declared
    )


def _is_argument(parameter: Parameter) -> bool:
    return any(
        isinstance(extra, type(typer.Argument()))
        for extra in getattr(parameter.annotation, "__metadata__", ())
    )


def _ended(function: Callable[[], Status]) -> Status:
    """The status of a command, whatever happens in it."""
    try:
        status = function()
        sys.stdout.flush()
    except KhodumpError as error:
        complain_of(error)
        return Status.NO_HANDOVER if isinstance(error, NoHandoverError) else Status.BAD_REQUEST
    except MemoryError as error:
        complain(
            f"there is not enough memory for this{': ' if str(error) else ''}{error}",
            "run it on a machine with more, or without its limit (ulimit -v)",
        )
        _silence_stdout()
        return Status.BAD_REQUEST
    except BrokenPipeError:
        _silence_stdout()
        return Status.DONE  # the reader has what it wanted, as with `| head`
    except OSError as error:
        complain(
            f"cannot write the output: {error.strerror}", "free some space, or write elsewhere with --output"
        )
        _silence_stdout()
        return Status.BAD_REQUEST
    except KeyboardInterrupt:
        complain("interrupted")
        _silence_stdout()
        return Status.INTERRUPTED
    return status


def complain_of(error: KhodumpError, after: str = "") -> None:
    """An error on stderr, worded for a prompt; `after` is the end of its sentence."""
    complain(f"{error.at_prompt()}{after}", error.hint)


def complain(message: str, hint: str | None = None) -> None:
    """An error on stderr, and what to do next."""
    say(f"khodump: {printable(message)}")
    if hint:
        say(f"  hint: {printable(hint)}")


def _silence_stdout() -> None:
    """Keep the interpreter from flushing what is left to a stdout that fails."""
    with suppress(OSError):  # a stdout without a descriptor, as tests have it, needs no help
        silence(sys.stdout.fileno())
