"""A line on stderr that says how far something is, how fast it goes, and when it will end."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import ClassVar, Final, TextIO

from khodump.numbers import format_size

#: What takes less than this many seconds needs no bar.
_PATIENCE: Final = 0.5
_INTERVAL: Final = 0.1
_BAR: Final = 20
_ERASE: Final = "\r\x1b[K"


@dataclass(eq=False)
class Bar:
    """One thing that may take long; of several at once, the one that began last has the line.

    Attributes:
        what: it, for a person: "searching for the root FDT".
        unit: what is counted; None for bytes.
        stream: the terminal.
        clock: seconds.
        silent: set once data is on its way to the terminal, which belongs to it from then on.
    """

    silent: ClassVar[bool] = False
    _open: ClassVar[list[Bar]] = []

    what: str
    unit: str | None = None
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = monotonic
    _began: float = 0
    _drawn: float | None = None

    def __post_init__(self) -> None:
        self._began = self.clock()

    def __call__(self, done: int, total: int) -> None:
        """So much of it is done; a total of 0 is an unknown one, and at the end the line is taken away."""
        if total and done >= total:
            self.close()
            return
        if self not in self._open:
            self._open.append(self)
        now = self.clock()
        due = self._began + _PATIENCE if self._drawn is None else self._drawn + _INTERVAL
        if now < due or self._open[-1] is not self or Bar.silent:
            return
        self._drawn = now
        width = shutil.get_terminal_size().columns - 1
        self.stream.write(_ERASE + self.text(done, total, now - self._began)[:width])
        self.stream.flush()

    def text(self, done: int, total: int, seconds: float) -> str:
        """The line, once `seconds` have passed."""
        rate = int(done / seconds)
        parts = [self.what]
        if total:
            filled = _BAR * min(done, total) // total
            parts += [
                f"[{'#' * filled:{_BAR}}] {100 * done // total:3}%",
                f"{self._amount(done)} of {self._amount(total)}",
            ]
        else:
            parts.append(self._amount(done))
        parts.append(f"{self._amount(rate)}/s")
        if total and rate:
            left = max(total - done, 0) // rate
            parts.append(f"{left // 60}:{left % 60:02} left")
        return "  ".join(parts)

    def close(self) -> None:
        """Take the line away."""
        if self in self._open:
            self._open.remove(self)
        if self._drawn is not None and not Bar.silent:
            self._drawn = None
            self.stream.write(_ERASE)
            self.stream.flush()

    def _amount(self, count: int) -> str:
        return format_size(count) if self.unit is None else f"{count:,} {self.unit}"
