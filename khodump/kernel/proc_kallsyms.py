"""/proc/kallsyms: the symbols of the running kernel as text, where its memory does not lead to its own table."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from khodump.errors import ImageError
from khodump.kernel.lack import Reason, WhyNot

#: A line of the kernel itself; those of modules end in the module's name.
_LINE: Final = rb"^([0-9a-f]{8,16}) \S (?:%s)$"


@dataclass(frozen=True)
class ProcKallsyms:
    """The text, as it was when it was read."""

    text: bytes

    def addresses(self, name: str) -> list[int] | WhyNot:
        """See `khodump.kernel.kallsyms.Symbols.addresses`."""
        lines = re.compile(_LINE % re.escape(name.encode()), re.MULTILINE)
        addresses = dict.fromkeys(int(match[1], 16) for match in lines.finditer(self.text))
        if 0 in addresses:
            message = (
                "the kernel hides the addresses of its symbols (kernel.kptr_restrict): read them as root"
            )
            return WhyNot(Reason.NO_KALLSYMS, message)
        return list(addresses)


def read_proc_kallsyms(path: str | os.PathLike[str] = "/proc/kallsyms") -> ProcKallsyms:
    """The symbols in a file of this form.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return ProcKallsyms(Path(path).read_bytes())
    except OSError as error:
        raise ImageError(
            f"cannot read the kernel's symbols from {os.fspath(path)}: {error.strerror}",
            hint="run as root; without symbols the memory is searched",
        ) from error
