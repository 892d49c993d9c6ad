"""/proc/kallsyms: the symbols of the running kernel as text, where its own table in memory cannot be read.

It is the kernel itself that expands the table here, so that this works also where its form is one that nobody knew yet: it
changed in 6.1, 6.15 and 7.3.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.names import Names

#: A line of the kernel itself; those of modules end in the module's name.
_LINE: Final = re.compile(rb"^([0-9a-f]{8,16}) (\S) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class ProcKallsyms:
    """The symbols, as they were when the file was read.

    Attributes:
        names: all names.
        places: the virtual address of each.
    """

    names: Names
    places: tuple[int, ...]

    def addresses(self, name: str) -> list[int]:
        """See `khodump.kernel.kallsyms.Symbols.addresses`."""
        return list(dict.fromkeys(self.places[number] for number in self.names.numbers(name)))


def read_proc_kallsyms(path: str | os.PathLike[str]) -> ProcKallsyms | WhyNot:
    """The symbols in a file of this form."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        message = f"cannot read the kernel's symbols from {os.fspath(path)}: {error.strerror}"
        return WhyNot(Reason.NO_KALLSYMS, message)
    lines = _LINE.findall(text)
    if not lines:
        return WhyNot(Reason.NO_KALLSYMS, f"{os.fspath(path)} has no symbols of the kernel itself")
    places = tuple(int(place, 16) for place, _, _ in lines)
    if not any(places):
        message = f"the kernel hides the addresses in {os.fspath(path)} (kernel.kptr_restrict): run as root"
        return WhyNot(Reason.NO_KALLSYMS, message)
    entries = [b"\0" + kind + name for _, kind, name in lines]
    sizes = np.fromiter(map(len, entries), np.int64, len(entries))
    names = Names(b"".join(entries) + b"\0", np.cumsum(sizes) - sizes)
    return ProcKallsyms(names, places)
