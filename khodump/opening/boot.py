"""What the boot protocol told a kernel: where the root FDT of a handover is, the scratch table, and the machine's RAM.

On x86 a handover is an entry of type SETUP_KEXEC_KHO in the list that boot_params.hdr.setup_data heads. Only linked entries
count: a kernel that was loaded without KHO has one that is filled in but not linked. Elsewhere it is in /chosen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from khodump.abi.bootparam import KHO_DATA, SETUP_DATA, SETUP_DATA_OFFSET, SETUP_KEXEC_KHO
from khodump.errors import FdtError, ImageError
from khodump.fdt import Fdt, cells_of, ranges_of, read_fdt
from khodump.layouts import RamMap
from khodump.memory import Hole, PhysicalMemory
from khodump.opening import ram

_PROP_KHO_FDT: Final = "linux,kho-fdt"
_PROP_KHO_SCRATCH: Final = "linux,kho-scratch"
_MAX_ENTRIES: Final = 256  # a boot protocol's list has a handful

#: MAX_FDT_SIZE of arm64.
MAX_DEVICETREE: Final = 2 << 20
_DEVICETREE: Final = "pass the machine's own: /sys/firmware/fdt, or the .dtb it was booted with"


@dataclass(frozen=True)
class Notice:
    """What one kernel was told.

    Attributes:
        source: where it stands, for a person.
        fdt: physical address of the root FDT.
        scratch_addr, scratch_size: the scratch table; physical address and bytes.
    """

    source: str
    fdt: int
    scratch_addr: int
    scratch_size: int


class BootInfo(NamedTuple):
    """What kernels were told when they were booted.

    Attributes:
        notices: of a handover.
        ram: of the machine's RAM.
    """

    notices: tuple[Notice, ...] = ()
    ram: tuple[RamMap, ...] = ()

    @classmethod
    def joined(cls, parts: Sequence[BootInfo]) -> BootInfo:
        """What several sources say; a notice that many have counts once."""
        notices = dict.fromkeys(notice for part in parts for notice in part.notices)
        return cls(tuple(notices), tuple(ram_map for part in parts for ram_map in part.ram))


NOTHING_TOLD: Final = BootInfo()


def from_boot_params(memory: PhysicalMemory, phys: int) -> BootInfo:
    """What the boot_params at this physical address say."""
    ram_map = ram.in_boot_params(memory, phys)
    return BootInfo(tuple(in_setup_data(memory, phys)), () if ram_map is None else (ram_map,))


def from_devicetree(blob: bytes, phys: int) -> BootInfo:
    """What these bytes at `phys` say, where they are a machine's device tree."""
    try:
        fdt = read_fdt(blob, max_size=MAX_DEVICETREE)
    except FdtError:
        return NOTHING_TOLD
    source = f"at {phys:#x}"
    notice = in_devicetree(fdt, source)
    ram_map = ram.in_devicetree(fdt.root, source)
    return BootInfo(() if notice is None else (notice,), () if ram_map is None else (ram_map,))


def in_setup_data(memory: PhysicalMemory, boot_params: int) -> Iterator[Notice]:
    """The notices in the list that the boot_params at this physical address heads."""
    head = memory.read(boot_params + SETUP_DATA_OFFSET, 8)
    at = 0 if isinstance(head, Hole) else int.from_bytes(head, "little")
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _MAX_ENTRIES:
        seen.add(at)
        header = memory.read(at, SETUP_DATA.size)
        if isinstance(header, Hole):
            return
        entry = SETUP_DATA.parse(header)
        if entry.type == SETUP_KEXEC_KHO and entry.len == KHO_DATA.size:
            data = memory.read(at + SETUP_DATA.size, KHO_DATA.size)
            if not isinstance(data, Hole):
                kho = KHO_DATA.parse(data)
                yield Notice(
                    f"setup_data at {at:#x}, from the boot_params at {boot_params:#x}",
                    kho.fdt_addr,
                    kho.scratch_addr,
                    kho.scratch_size,
                )
        at = entry.next


def in_devicetree(fdt: Fdt, source: str) -> Notice | None:
    """The notice in a machine's device tree; None when /chosen says nothing of KHO."""
    tree = fdt.root
    chosen = tree.child("chosen")
    if chosen is None:
        return None
    cells = cells_of(tree)
    root = ranges_of(chosen.properties.get(_PROP_KHO_FDT, b""), cells)
    scratch = ranges_of(chosen.properties.get(_PROP_KHO_SCRATCH, b""), cells)
    if len(root) != 1 or len(scratch) != 1:
        return None
    table, table_end = scratch[0]
    odd = f" (odd: {fdt.oddities[0].text})" if fdt.oddities else ""
    return Notice(f"/chosen of the device tree {source}{odd}", root[0][0], table, table_end - table)


def in_devicetree_file(path: str | os.PathLike[str]) -> Notice | None:
    """The notice in a device tree file, such as /sys/firmware/fdt.

    Raises:
        ImageError: the file cannot be read.
        FdtError: it is no well-formed FDT.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a path that looks like a number stays one
            data = file.read(MAX_DEVICETREE)
    except OSError as error:
        raise ImageError(
            f"cannot read the device tree {os.fspath(path)}: {error.strerror}", hint=_DEVICETREE
        ) from error
    try:
        return in_devicetree(read_fdt(data, max_size=MAX_DEVICETREE), f"file {os.fspath(path)}")
    except FdtError as error:
        raise FdtError(f"{os.fspath(path)} is not a usable device tree: {error}", hint=_DEVICETREE) from error
