"""Where the RAM of an image's machine ends: what tells it, the firmest first.

The end of an image is not the end of RAM: a dump may hold the metadata alone, or lack its last stretch. So a pointer leads
outside memory only on evidence of where that ends; without any, what it leads to was just not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from khodump.layouts import RamMap
from khodump.memory import PhysicalMemory, Presence, RamEnd

#: Flash and option ROMs below 4 GiB, which dumps of virtual machines hold and no table calls RAM.
_FIRMWARE: Final = (0xE000_0000, 1 << 32)
_MAX_PHYSMEM_BITS: Final = "NUMBER(MAX_PHYSMEM_BITS)"


def find_ram_end(memory: PhysicalMemory, told: Iterable[RamMap], named: Iterable[int]) -> RamEnd:
    """Where RAM ends.

    Args:
        memory: the image.
        told: what is found in it of the machine's own words; some may be another machine's, such as a guest's.
        named: physical addresses that the handover names, without the one that leads to its map.
    """
    header = memory.ram_end if memory.ram_end is not None and memory.ram_end.is_told else None
    # A dump's header knows of the memory that its maker saw. makedumpfile counts to the end of the core that it read,
    # which a tool may have reduced, so that the machine's own words may know of more.
    above = [ram for ram in told if header is None or ram.end > header.address]
    ends = [
        RamEnd(ram.end, f"as {ram.source} says", is_told=True)
        for ram in above
        if not _is_contradicted(ram, memory)
    ]
    if header is not None:
        ends.append(header)
    if ends:
        return max(ends, key=lambda end: end.address)
    return min(_bounds(memory, named), key=lambda bound: bound.address)


def _is_contradicted(ram: RamMap, memory: PhysicalMemory) -> bool:
    """Whether the image holds memory above what these words know of."""
    above = [
        (span.start, span.end)
        for span in memory.ranges
        if span.presence is Presence.PRESENT and span.end > ram.end
    ]
    no_ram = (*ram.reserved, _FIRMWARE)
    return not all(any(low <= start and end <= high for low, high in no_ram) for start, end in above)


def _bounds(memory: PhysicalMemory, named: Iterable[int]) -> Iterator[RamEnd]:
    """Addresses that RAM does not reach, whatever the machine: it may end far below."""
    architecture = RamEnd.of_architecture()
    yield architecture
    bits = memory.platform.vmcoreinfo.get(_MAX_PHYSMEM_BITS, "")
    if re.fullmatch(r"[3-5]\d", bits):
        yield RamEnd(1 << int(bits), f"as VMCOREINFO says, whose MAX_PHYSMEM_BITS is {bits}")
    yield RamEnd.far_above(
        max(address for address in (memory.end, *named, 0) if address < architecture.address)
    )


def reaching(end: RamEnd | None, top: int) -> RamEnd | None:
    """Evidence that still holds when there turns out to be something up to `top`; the same where that was known."""
    raised = min(RamEnd.far_above(top), RamEnd.of_architecture(), key=lambda bound: bound.address)
    if end is None or end.is_told or raised.address <= end.address:
        return end
    return raised
