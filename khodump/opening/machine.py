"""The handover of the machine that khodump runs on: what leads to it, and why nothing does.

What its kernel's variables say comes first; then debugfs, whose kho/out/fdt a kernel that was itself booted through KHO
does not have (up to 7.3); then what the boot protocol left in /sys; then a search.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from khodump.abi.bootparam import KHO_DATA, SETUP_KEXEC_KHO
from khodump.advice import INCOMING, Advice
from khodump.errors import ImageError, KhodumpError, NoHandoverError
from khodump.kernel import Told
from khodump.memories.live import LivePaths
from khodump.memories.refusal import refusal_of
from khodump.memory import Hole, PhysicalMemory
from khodump.opening.boot import Notice, in_devicetree_file
from khodump.opening.running import Running
from khodump.opening.scratch import Scratch, read_files, read_table

_OFF: Final = ("kho=off", "kho=0", "kho=n", "kho=no", "kho=false")


@dataclass(frozen=True)
class Lead:
    """What leads to a root FDT of this machine.

    Attributes:
        fdt: a file of debugfs, or a physical address; None to go by the kernel's variables, or search.
        notes: what was not there, one sentence each.
    """

    fdt: str | int | None
    notes: tuple[str, ...] = ()


def lead(running: Running, paths: LivePaths, *, incoming: bool) -> Lead:
    """To what this kernel received, or to what it is about to hand over.

    Raises:
        NoHandoverError: this kernel says that there is none.
        ImageError: nothing leads to what it received; the hint says why that may be.
    """
    pointer = running.incoming if incoming else running.outgoing
    if isinstance(pointer, Told) and pointer.phys:
        return Lead(pointer.phys if incoming else None)
    if isinstance(pointer, Told):
        raise _says_none(pointer, paths, incoming=incoming)
    file = paths.kho / ("in" if incoming else "out") / "fdt"
    why = why_unreadable(file, paths)
    if why is None:
        return Lead(str(file))
    if incoming:
        return _by_boot_protocol(paths, why)
    if _is_off(paths):
        raise NoHandoverError("this kernel was booted with kho=off: it hands nothing over", hint=_ON)
    return Lead(None, (f"searching this machine's memory: {why}",))


_ON: Final = "boot with kho=on, in a kernel with CONFIG_KEXEC_HANDOVER"


def _says_none(pointer: Told, paths: LivePaths, *, incoming: bool) -> NoHandoverError:
    """The error where the kernel's own variable says that there is nothing."""
    if incoming:
        message = f"{pointer.variable} is 0: this kernel was not booted through KHO"
        hint = Advice.of("leave ", INCOMING, " out for what it is about to hand over")
        return NoHandoverError(message, hint=hint)
    off = " (it was booted with kho=off)" if _is_off(paths) else ""
    return NoHandoverError(f"{pointer.variable} is 0{off}: this kernel prepares no handover", hint=_ON)


def _by_boot_protocol(paths: LivePaths, why: str) -> Lead:
    """To what the boot protocol named; `why` says what is wrong with debugfs."""
    notice = next(notices(paths), None)
    if notice is None:
        hint = "this kernel was not booted through KHO, if debugfs is mounted and shows kho/in"
        raise ImageError(f"nothing leads to a handover that this kernel received: {why}", hint=hint)
    return Lead(notice.fdt, (f"{why}; took the root FDT that {notice.source} names",))


def why_unreadable(file: Path, paths: LivePaths) -> str | None:
    """Why a file of debugfs' kho cannot be read; None where it can."""
    debugfs = paths.kho.parent
    try:
        with file.open("rb"):
            return None
    except FileNotFoundError:
        return _why_missing(file, paths)
    except OSError as error:
        number = error.errno
        refusal = refusal_of(number, paths.refusals)
        if number == errno.EACCES:
            return f"debugfs at {debugfs} is for root alone: run as root"
        return f"cannot read {file}: {error.strerror}" + (f", for {refusal.reason}" if refusal else "")


def _why_missing(file: Path, paths: LivePaths) -> str:
    debugfs, side = paths.kho.parent, file.parent
    if side.exists() and side.name == "out":
        return f"there is no {file}, as in kernels that were themselves booted through KHO"
    if paths.kho.exists():
        return f"there is no {file}: this kernel has no such handover"
    if not debugfs.exists() or not any(debugfs.iterdir()):
        return f"debugfs is not mounted: mount -t debugfs none {debugfs}"
    if _is_off(paths):
        return f"there is no {paths.kho}: this kernel was booted with kho=off"
    return f"there is no {paths.kho}: this kernel has no CONFIG_KEXEC_HANDOVER_DEBUGFS, or KHO is off (boot with kho=on)"


def _is_off(paths: LivePaths) -> bool:
    """Whether the last kho= of the command line turns KHO off, as kho_parse_enable() takes it."""
    try:
        words = paths.cmdline.read_text().split()
    except OSError:
        return False
    said = [word.lower() for word in words if word.startswith("kho=")]
    return bool(said) and said[-1] in _OFF


def scratch_of(running: Running, paths: LivePaths) -> Scratch | None:
    """The scratch regions: where the kernel's variables do not tell, debugfs or the boot protocol may."""
    if running.scratch is not None:
        return None  # they are asked again where the handover is opened
    try:
        return read_files([paths.kho / "out"])
    except KhodumpError:
        tables = (_table(running.memory, notice) for notice in notices(paths))
        return next((table for table in tables if table), None)


def _table(memory: PhysicalMemory, notice: Notice) -> Scratch | None:
    table = read_table(memory, notice.scratch_addr, notice.scratch_size)
    return None if isinstance(table, Hole) else table


def notices(paths: LivePaths) -> Iterator[Notice]:
    """What the boot protocol told this kernel, by /sys: x86's list of setup_data, or the machine's device tree."""
    entries = sorted(paths.setup_data.glob("*")) if paths.setup_data.is_dir() else []
    for entry in entries:
        try:
            kind, data = int((entry / "type").read_text(), 0), (entry / "data").read_bytes()
        except (OSError, ValueError):
            continue
        if kind == SETUP_KEXEC_KHO and len(data) >= KHO_DATA.size:
            kho = KHO_DATA.parse(data)
            yield Notice(str(entry), kho.fdt_addr, kho.scratch_addr, kho.scratch_size)
    try:
        notice = in_devicetree_file(paths.devicetree)
    except KhodumpError:
        return
    if notice is not None:
        yield notice
