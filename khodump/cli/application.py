"""The application that holds all commands. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import typer

from khodump import __version__
from khodump.cli.command import Status, complain
from khodump.cli.help import Group
from khodump.cli.streams import prepare, silence

app = typer.Typer(
    name="khodump",
    cls=Group,
    help="Inspect Linux Kexec HandOver (KHO) state in a memory image.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"khodump {__version__}")
        raise typer.Exit


@app.callback()
def _khodump(
    context: typer.Context,
    version: bool = typer.Option(  # noqa: ARG001 - its callback acts
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run() -> None:
    """Run the command line as a process of its own; ends with SystemExit."""
    prepare()
    try:
        app(prog_name="khodump")  # also for python -m khodump
    except KeyboardInterrupt:  # before or after a command runs; commands catch their own
        raise SystemExit(Status.INTERRUPTED) from None
    except OSError as error:  # --help and --version, which are no commands
        silence(1)
        complain(f"cannot write the output: {error.strerror}")
        raise SystemExit(Status.BAD_REQUEST) from None
