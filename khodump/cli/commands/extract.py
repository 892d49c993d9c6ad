"""`khodump extract`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Final

import typer

from khodump.advice import CHECK
from khodump.cli import completion
from khodump.cli.command import Status, command, complain, complain_of
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import FORCE, Voice
from khodump.errors import UsageError
from khodump.numbers import format_size, parse_number, shortened
from khodump.output.files import is_stdout, refuse

if TYPE_CHECKING:
    from khodump.extraction.copying import Sink
    from khodump.extraction.losses import Losses
    from khodump.extraction.plan import Plan
    from khodump.handover import Handover

_SHOWN: Final = 10


@command(
    examples=[
        Example(
            "extract vmcore --memfd vm-beta/0x7 --output disk.img",
            "A memfd, by the session and token that khodump sessions lists",
        ),
        Example(
            "extract vmcore --reserve-mem trace --fill --output trace.bin",
            "A region of reserve_mem=, with zeros for what the image leaves out",
        ),
        Example("extract mem.img --range 0x300000+26", "Some bytes of memory, to stdout"),
    ]
)
def extract(
    source: Source,
    terminal: Voice,
    memfd: Annotated[
        str | None,
        typer.Option(
            metavar="SESSION/TOKEN",
            autocompletion=completion.memfds,
            help="A memfd, by LUO's session and the file's token in it.",
        ),
    ] = None,
    reserve_mem: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", autocompletion=completion.regions, help="A region that reserve_mem= set aside."
        ),
    ] = None,
    blob: Annotated[
        str | None,
        typer.Option(
            metavar="NODE", autocompletion=completion.nodes, help="What this node of the root FDT leads to."
        ),
    ] = None,
    range_: Annotated[
        str | None, typer.Option("--range", metavar="ADDR+SIZE", help="Physical memory, preserved or not.")
    ] = None,
    vmalloc: Annotated[
        str | None,
        typer.Option(metavar="ADDR", help="The area of the struct kho_vmalloc at this physical address."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write there, for your eyes only, instead of stdout."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=FORCE)] = False,
    fill: Annotated[
        bool, typer.Option("--fill", help="Put zeros where the image holds nothing, instead of giving up.")
    ] = False,
    fill_byte: Annotated[
        str | None, typer.Option(metavar="BYTE", help="As --fill, but with this byte.")
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Refuse more. Default: as much as the image holds, at least 1G."),
    ] = None,
) -> Status:
    """Rebuild what was preserved: a memfd, a reserved region, a blob, a vmalloc area, or bare memory."""
    selected = _selected(memfd, reserve_mem, blob, range_, vmalloc)
    filler = 0 if fill else None
    if fill_byte is not None:
        filler = parse_number(fill_byte, "--fill-byte", most=0xFF)
    limit = None if max_size is None else parse_number(max_size, "--max-size")
    file = None if is_stdout(output) else output
    if file is None:
        if sys.stdout.isatty():
            raise UsageError(
                "the output would go to this terminal", hint="--output FILE, or pipe it to a command"
            )
    else:
        refuse(file, force=force, inputs=source.inputs)
    with source.opened(terminal) as handover:
        return _extract(terminal, handover, selected, file, source, filler, limit, force=force)


def _extract(
    terminal: Voice,
    handover: Handover,
    selected: Callable[[Handover], Plan],
    output: str | None,
    source: Source,
    fill: int | None,
    limit: int | None,
    *,
    force: bool,
) -> Status:
    """Plan, copy and report."""
    from khodump.extraction.extract import MissingError, UnreadableError, doubts_of
    from khodump.extraction.extract import extract as carry_out
    from khodump.extraction.sinks import StreamSink
    from khodump.output.files import new_file

    stdout = StreamSink(sys.stdout.buffer)

    def target(room: int) -> AbstractContextManager[Sink]:
        if output is None:
            return nullcontext(stdout)
        return new_file(output, room=room, force=force, inputs=source.inputs)

    try:
        plan = selected(handover)
        for warning in plan.warnings:
            terminal.note(f"warning: {warning}")
        doubts = doubts_of(handover, plan)
        told = handover.told(handover.all_findings)
        terminal.warn([finding for finding in told if finding.message not in plan.warnings])
        if doubts:
            complain(
                f"{plan.what} may not be what was preserved: {'; '.join(doubts)}",
                f"{source.invocation.line(CHECK)} says what is damaged",
            )
        with terminal.progress(f"extracting {plan.what}") as progress:
            losses = carry_out(handover.memory, plan, target, fill=fill, limit=limit, progress=progress)
    except UnreadableError as error:
        error.invocation = source.invocation
        complain_of(error)
        return Status.PARTIAL
    except MissingError as error:
        _list(terminal, error.losses)
        written = f"stopped after {stdout.written} bytes" if stdout.written else "nothing was written"
        complain_of(error, f": {written}")
        return Status.PARTIAL
    _list(terminal, losses)
    terminal.note(_summary(plan, losses))
    return Status.PARTIAL if losses or doubts else Status.DONE


def _list(terminal: Voice, losses: Losses) -> None:
    """What is missing, first things first."""
    for loss in losses.head(None if terminal.verbose else _SHOWN):
        place = "" if loss.phys is None else f" at {loss.phys:#x}"
        terminal.note(
            f"missing: {loss.offset:#x}..{loss.offset + loss.size:#x}{place} ({format_size(loss.size)}): {loss.reason}"
        )
    if not terminal.verbose and len(losses) > _SHOWN:
        terminal.note(f"{len(losses) - _SHOWN} more missing stretches: -v shows all")


def _summary(plan: Plan, losses: Losses) -> str:
    count, name = plan.parts
    holes = 0 if plan.doubt else plan.gap_size
    filled = f", {format_size(losses.size)} missing and filled" if losses else ", nothing missing"
    said = (
        f"{plan.what}: {plan.size} bytes ({format_size(plan.size)}) from {count} {name}{'s' * (count != 1)}"
    )
    return f"{said}, {format_size(holes)} of holes{filled}"


def _selected(
    memfd: str | None, reserve_mem: str | None, blob: str | None, range_: str | None, vmalloc: str | None
) -> Callable[[Handover], Plan]:
    """What to plan, from exactly one of the options."""
    from khodump.extraction import extract as planning

    plans: list[Callable[[Handover], Plan]] = []
    if memfd is not None:
        session, slash, token = memfd.rpartition("/")  # sessions may have slashes in their names
        if not slash:
            raise UsageError(
                f"{shortened(memfd)} names no memfd",
                hint="write SESSION/TOKEN, as khodump sessions lists them",
            )
        number = parse_number(token, "--memfd")
        plans.append(lambda handover: planning.plan_memfd(handover, session, number))
    if reserve_mem is not None:
        plans.append(lambda handover: planning.plan_reserve_mem(handover, reserve_mem))
    if blob is not None:
        plans.append(lambda handover: planning.plan_blob(handover, blob))
    if range_ is not None:
        start, size = _range(range_)
        plans.append(lambda handover: planning.plan_range(handover, start, size))
    if vmalloc is not None:
        address = parse_number(vmalloc, "--vmalloc")
        plans.append(lambda handover: planning.plan_vmalloc(handover, address))
    if len(plans) != 1:
        raise UsageError(
            "nothing to extract named"
            if not plans
            else f"{len(plans)} things to extract named: one at a time",
            hint="pass one of --memfd, --reserve-mem, --blob, --range and --vmalloc",
        )
    return plans[0]


def _range(text: str) -> tuple[int, int]:
    start, plus, size = text.partition("+")
    if not plus:
        raise UsageError(
            f"--range: {shortened(text)} is no range", hint="write ADDR+SIZE, such as 0x40000000+2M"
        )
    return parse_number(start, "--range"), parse_number(size, "--range")
