"""`khodump check`."""

from __future__ import annotations

from typing import Annotated

import typer

from khodump.cli import completion
from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Terminal
from khodump.errors import UsageError
from khodump.findings import Severity


@command(
    examples=[
        Example("check vmcore", "What is wrong with it, and what the next kernel will do"),
        Example(
            "check vmcore --next 7.1 --fail-on warning",
            "Whether another kernel would take it; the status is 1 if anything speaks against it",
        ),
        Example("check --explain claim-not-preserved", "What a rule means, and how to confirm it"),
    ]
)
def check(
    source: Source,
    terminal: Terminal,
    next_: Annotated[
        str | None,
        typer.Option(
            "--next",
            metavar="KERNEL",
            autocompletion=completion.kernels,
            help="The kernel that is to receive it: an ABI (kho-v4) or a release (7.3). Default: one like its own.",
        ),
    ] = None,
    fail_on: Annotated[
        Severity, typer.Option(help="The severity from which on a finding makes the status 1.")
    ] = Severity.ERROR,
    list_: Annotated[bool, typer.Option("--list", help="List the rules; needs no image.")] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="RULE", autocompletion=completion.rules, help="Explain one rule; needs no image."
        ),
    ] = None,
) -> Status:
    """Say what is wrong with a handover, and what the next kernel will do with it."""
    from khodump.abi.kernels import kernel_named
    from khodump.checking.checkup import examine
    from khodump.tables import check as tables

    if explain is not None:
        return terminal.write(tables.explain(explain))
    if list_:
        return terminal.write(tables.list_rules())
    if not source.images and not source.live:
        raise UsageError("no memory image named", hint="khodump check IMAGE, or khodump check --list")
    kernel = None if next_ is None else kernel_named(next_)
    with source.opened_leniently(terminal) as opened:
        checkup = examine(opened, kernel)
        terminal.write(tables.check(opened, checkup, kernel, source.invocation))
    if checkup.is_wrong(fail_on):
        return Status.FOUND
    return Status.PARTIAL if checkup.reaches(fail_on) else Status.DONE
