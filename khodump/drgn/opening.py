"""Opening the handover of a `drgn.Program`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from drgn import Program

from khodump.api import open_in, open_leniently_in
from khodump.drgn.memory import ProgramMemory
from khodump.drgn.statics import incoming_fdt, outgoing_fdt, scratch_table
from khodump.errors import NoHandoverError
from khodump.handover import Handover
from khodump.memory import Hole, PhysicalMemory
from khodump.opening.locate import Progress
from khodump.opening.mapless import MaplessRoot
from khodump.opening.scratch import Scratch, read_table


class _Place(NamedTuple):
    """The root FDT's address and the variable that tells it, as far as they are known, and what to say of that."""

    fdt: int | None
    source: str | None = None
    note: str | None = None


def open_program(
    program: Program,
    *,
    incoming: bool = False,
    fdt: int | None = None,
    search: bool = False,
    version: str | None = None,
    page_size: int | None = None,
    ranges: Iterable[tuple[int, int]] | None = None,
    progress: Progress | None = None,
) -> Handover:
    """Open the KHO handover of a program; also `khodump.drgn.open`. Closing it leaves the program alone.

    Args:
        program: a running kernel, a core dump of one, or anything else that has physical memory.
        incoming: what this kernel received (`kho_in`), instead of what it hands over (`kho_out`).
        fdt: physical address of the root FDT, instead of what the kernel's variables say.
        search: search the memory for the root FDT, whatever the kernel's variables say.
        version: as for `khodump.open`.
        page_size: as for `khodump.open`.
        ranges: where RAM is, as (start, end), for a program that does not say.
        progress: as for `khodump.open`.

    Raises:
        ImageError: drgn cannot read the memory.
        NoHandoverError: there is no KHO handover of a version that khodump reads.
    """
    place = _Place(fdt) if fdt is not None or search else _place(program, incoming=incoming)
    memory = ProgramMemory(program, ranges)
    handover = open_in(
        memory,
        fdt=place.fdt,
        version=version,
        page_size=page_size,
        scratch=_scratch(memory, program, incoming=incoming),
        progress=progress,
    )
    return _explained(handover, place, incoming=incoming)


def open_program_leniently(
    program: Program,
    *,
    incoming: bool = False,
    fdt: int | None = None,
    search: bool = False,
    version: str | None = None,
    page_size: int | None = None,
    ranges: Iterable[tuple[int, int]] | None = None,
    progress: Progress | None = None,
) -> Handover | MaplessRoot:
    """As `open_program`, and as leniently as `khodump.api.open_leniently`; also `khodump.drgn.open_leniently`."""
    place = _Place(fdt) if fdt is not None or search else _place(program, incoming=incoming)
    memory = ProgramMemory(program, ranges)
    opened = open_leniently_in(
        memory,
        fdt=place.fdt,
        version=version,
        page_size=page_size,
        scratch=_scratch(memory, program, incoming=incoming),
        progress=progress,
    )
    if not isinstance(opened, Handover):
        return opened
    return _explained(opened, place, incoming=incoming)


def _place(program: Program, *, incoming: bool) -> _Place:
    """Where the kernel's own variables say that the root FDT is.

    Raises:
        NoHandoverError: they say that there is none.
    """
    told = incoming_fdt(program) if incoming else outgoing_fdt(program)
    if told.fdt is None:
        note = f"{told.source} is not to be had ({told.problem}); searched the memory instead"
        return _Place(None, note=note)
    if told.fdt == 0:
        raise NoHandoverError(
            f"{told.source} is 0: this kernel has no such handover",
            hint="it was not booted through KHO"
            if incoming
            else "KHO is off: look for kho=on, and in its log",
        )
    return _Place(told.fdt, told.source, f"took the root FDT at {told.fdt:#x}, from {told.source}")


def _scratch(memory: PhysicalMemory, program: Program, *, incoming: bool) -> Scratch | None:
    table = scratch_table(program, incoming=incoming)
    found = read_table(memory, *table) if table else None
    return None if isinstance(found, Hole) else found


def _explained(handover: Handover, place: _Place, *, incoming: bool) -> Handover:
    """With where the root FDT was found, and whether the kernel itself says that it received this handover."""
    notes = handover.notes if place.note is None else (place.note, *handover.notes)
    fdt = replace(handover.fdt, source=place.source) if place.source else handover.fdt
    is_received = incoming and place.source is not None
    return replace(handover, fdt=fdt, notes=notes, is_received=is_received)
