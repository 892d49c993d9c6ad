"""The kernel's own variables that tell where its handover is: kho_out, kho_in, kho_scratch (kexec_handover.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from drgn import Object, Program
from drgn.helpers.linux.mm import follow_phys, page_to_phys, virt_to_phys

from khodump.abi.kexec_handover import KHO_SCRATCH


class Told(NamedTuple):
    """What the debug information led to.

    Attributes:
        fdt: physical address of the root FDT; 0 where the kernel says that there is none, None where nothing is told.
        source: the variable that says so.
        problem: why nothing is told.
    """

    fdt: int | None
    source: str
    problem: str = ""


def outgoing_fdt(program: Program) -> Told:
    """The root FDT that this kernel prepares for the next one."""
    return _told(program, "kho_out.fdt", _outgoing)


def incoming_fdt(program: Program) -> Told:
    """The root FDT that this kernel received."""
    return _told(program, "kho_in.fdt_phys", lambda program: _number(program["kho_in"].fdt_phys))


def scratch_table(program: Program, *, incoming: bool) -> tuple[int, int] | None:
    """Physical address and bytes of the scratch table: that which this kernel received, or its own; None if not told."""
    try:
        size = _number(program["kho_scratch_cnt"]) * KHO_SCRATCH.size
        if incoming:
            phys = _number(program["kho_in"].scratch_phys)
        else:
            phys = _physical(program, table) if (table := program["kho_scratch"]) else 0
    except Exception:  # noqa: BLE001 - see _told
        return None
    return (phys, size) if phys and size else None


def _outgoing(program: Program) -> int:
    kho_out = program["kho_out"]
    if kho_out.type_.has_member("ser"):  # up to 6.18 a struct page
        page = kho_out.ser.fdt
        return _number(page_to_phys(page)) if page else 0
    return _physical(program, kho_out.fdt) if kho_out.fdt else 0


def _physical(program: Program, pointer: Object) -> int:
    """The physical address behind a kernel pointer, by the direct map or else by the page table."""
    try:
        return _number(virt_to_phys(program, pointer))
    except Exception:  # noqa: BLE001 - see _told
        return _number(follow_phys(program["init_mm"].address_of_(), pointer))


def _number(value: Object) -> int:
    return int(value.value_())


def _told(program: Program, source: str, ask: Callable[[Program], int]) -> Told:
    try:
        return Told(ask(program), source)
    except Exception as error:  # noqa: BLE001 - drgn raises what it likes, plain Exception included, on missing,
        # wrong-typed and unreadable variables alike; none of them must keep the memory from being searched
        return Told(None, source, f"{error}")
