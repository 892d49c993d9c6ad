"""What `--help` shows: commands by task, options by what they are about, and examples; plain text, for it must start fast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter, Parameter

#: Where options stand that no group of options claims.
OPTIONS: Final = "Options"
_TASKS: Final = {
    "Look at a handover": ("inspect", "owners", "sessions", "subtrees", "lookup", "tree", "map"),
    "Diagnose": ("check", "scan", "report"),
    "Compare": ("diff",),
    "Take out": ("extract", "slim"),
    "Tools": ("key", "formats"),
}
_ARGUMENTS: Final = "Arguments"
_FOOT: Final = (
    "Run 'khodump COMMAND --help' for a command's options, with examples; 'man khodump-COMMAND' has the same."
)


class Example(NamedTuple):
    """A command line that shows what a command is for.

    Attributes:
        line: its arguments, `check vmcore --next 7.1`. The tests run it in a directory with `vmcore`, `mem.img`, `kho.dtb`
            and whatever else tests/cli/test_help.py puts there.
        shows: what it does, for the line above it.
    """

    line: str
    shows: str


class Command(TyperCommand):
    """A command whose help ends with examples."""

    @property
    def examples(self) -> tuple[Example, ...]:
        """What the `command` decorator was given."""
        examples: tuple[Example, ...] = getattr(self.callback, "examples", ())
        return examples

    def sections(self, ctx: Context) -> dict[str, list[tuple[str, str]]]:
        """Names and texts of arguments and options, by heading, in the order in which help shows them."""
        headings: dict[str, str] = getattr(self.callback, "headings", {})
        found: dict[str, list[tuple[str, str]]] = {_ARGUMENTS: [], OPTIONS: []}
        for param in self.get_params(ctx):
            record = param_record(param, ctx)
            if record:
                heading = (
                    _ARGUMENTS
                    if isinstance(param, TyperArgument)
                    else headings.get(param.name or "", OPTIONS)
                )
                found.setdefault(heading, []).append(record)
        return {heading: records for heading, records in found.items() if records}

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """The usage as other programs write it: typer puts what must be there in braces."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """See TyperCommand."""
        for heading, records in self.sections(ctx).items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The examples, as they are typed."""
        if not self.examples:
            return
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"  # {example.shows}\n  khodump {example.line}\n")


class Commands(Mapping[str, TyperCommand]):
    """Commands by name, each imported when it is asked for: `khodump --version` needs none.

    Args:
        tasks: names of commands, each of a function in the module `khodump.cli.commands.NAME`, by what they are for.
    """

    def __init__(self, tasks: Mapping[str, tuple[str, ...]]) -> None:
        self._tasks = {name: task for task, names in tasks.items() for name in names}

    def __getitem__(self, name: str) -> TyperCommand:
        return _load(name, self._tasks[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


@cache
def _load(name: str, task: str) -> TyperCommand:
    module = import_module(f"khodump.cli.commands.{name}")
    function = getattr(module, name, None) or getattr(
        module, f"{name}_"
    )  # of what has the name of Python's own
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=Command, rich_help_panel=task)(function)
    return cast("TyperCommand", get_command(app))


class Group(TyperGroup):
    """All commands, by task."""

    def __init__(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(*args, **settings)
        self.commands = Commands(_TASKS)  # type: ignore[assignment]  # nothing is ever added

    def tasks(self) -> dict[str, list[TyperCommand]]:
        """The commands by what they are for, in the order in which they were registered."""
        found: dict[str, list[TyperCommand]] = {}
        for each in self.commands.values():
            if isinstance(each, TyperCommand) and not each.hidden:
                found.setdefault(each.rich_help_panel or "More", []).append(each)
        return found

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Commands first: they are what is looked for."""
        width = max(map(len, self.commands), default=0)
        for task, commands in self.tasks().items():
            with formatter.section(task):
                formatter.write_dl([((each.name or "").ljust(width), one_line(each)) for each in commands])
        records = (param_record(param, ctx) for param in self.get_params(ctx))
        with formatter.section(OPTIONS):
            formatter.write_dl([record for record in records if record])

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Where to read on."""
        formatter.write_paragraph()
        formatter.write(f"{_FOOT}\n")


def one_line(command: TyperCommand) -> str:
    """What a command does, in a sentence."""
    return cleandoc(command.help or "").partition("\n")[0]


def param_record(param: Parameter, ctx: Context) -> tuple[str, str] | None:
    """The name and the text of an argument or option; None for one that is hidden."""
    record = param.get_help_record(ctx) if isinstance(param, TyperArgument | TyperOption) else None
    if record is None or not isinstance(param, TyperArgument):
        return record
    return record[0].partition(" ")[0], record[1]  # typer says <list[str]> of an IMAGE
