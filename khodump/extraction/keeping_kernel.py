"""What of an image the running kernel is asked by: symbols, types, page tables, and its own objects, byte for byte.

It is asked once more, of a memory that keeps book: what is kept is what was read, and nothing has to be known twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from khodump.handover import Handover
from khodump.kernel import WhyNot
from khodump.kernel.living import Living, as_luo
from khodump.memories.noted import NotedMemory
from khodump.memory import PhysicalMemory
from khodump.opening.running import Role, Running
from khodump.owner import Owner
from khodump.subtree import Keep
from khodump.subtrees.luo_memory import luo_keeps

#: The owner of all that is not a user's.
KERNEL: Final = Owner("kernel", part="own words")

#: Lines of VMCOREINFO that lead to it: addresses, numbers, and sizes; none can hold anybody's data.
_KEY: Final = re.compile(r"(?:SYMBOL|NUMBER|SIZE|OFFSET)\([\w.]{1,64}\)")
_VALUE: Final = re.compile(r"-?(?:0x)?[0-9a-fA-F]{1,20}")


def is_asked(handover: Handover) -> bool:
    """Whether the running kernel tells something of this handover, by nothing but its memory."""
    running = handover.running
    return handover.role is not Role.UNTOLD and running is not None and not running.needs_proc_kallsyms


def kernel_keeps(handover: Handover) -> Iterator[Keep]:
    """All bytes that the running kernel is asked by, of a handover of its own."""
    if not is_asked(handover):
        return
    noted = NotedMemory(handover.memory)
    living = ask(Running(noted))
    yield Keep.of(KERNEL, "symbols, types and lists", *noted.spans)
    if living is not None:
        yield from luo_keeps(living.context, as_luo(living.sessions))


def ask(running: Running) -> Living | None:
    """Ask it all that any command asks."""
    _ = running.places
    if running.boot_params is not None:
        # A device tree, on other machines, is not kept: it holds the command line, seeds and serial numbers as well.
        _ = running.boot
    living = running.living
    if isinstance(living, WhyNot):
        return None
    _ = living.findings
    for session in living.received:
        for file in session.session.files:
            living.folios_of(file)
    return living


def kernel_lines(lines: Mapping[str, str]) -> dict[str, str]:
    """The lines of VMCOREINFO that lead to the kernel's symbols and memory."""
    return {key: value for key, value in lines.items() if _KEY.fullmatch(key) and _VALUE.fullmatch(value)}


def tells_the_same(handover: Handover, core: PhysicalMemory) -> bool:
    """Whether the kernel in `core`, which was cut out of the handover's image, tells of the same sessions and places."""
    ours, theirs = handover.running, Running(core)
    if ours is None:
        return True
    if isinstance(ours.places, WhyNot) or isinstance(theirs.places, WhyNot):
        return isinstance(ours.places, WhyNot)
    told = ours.living, theirs.living
    sessions = [None if isinstance(each, WhyNot) else [one.live for one in each.sessions] for each in told]
    return ours.places == theirs.places and sessions[0] == sessions[1]
