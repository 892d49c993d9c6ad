"""VMCOREINFO: the lines in which a kernel tells dump tools of itself (kernel/vmcore_info.c)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from khodump.abi.kexec_handover import PAGE_SIZES

_HEX: Final = re.compile(r"(?:0x)?([0-9a-f]{1,16})", re.IGNORECASE)
_DECIMAL: Final = re.compile(r"-?[0-9]{1,20}")
_SYMBOL: Final = re.compile(r"SYMBOL\((\w+)\)")
_ALL_BITS: Final = (1 << 64) - 1


@dataclass(frozen=True)
class Vmcoreinfo:
    """The lines, and what each kind of line holds. A line that is malformed is as good as none."""

    lines: Mapping[str, str]

    def symbol(self, name: str) -> int | None:
        """The virtual address of a symbol.

        Of few it is the value of the variable instead: `vmemmap` and, with sparse memory, `mem_section`.
        """
        return _hexadecimal(self.lines.get(f"SYMBOL({name})", ""))

    @property
    def symbols(self) -> dict[str, int]:
        """All of them, by name."""
        names = (match[1] for match in map(_SYMBOL.fullmatch, self.lines) if match)
        addresses = ((name, self.symbol(name)) for name in names)
        return {name: va for name, va in addresses if va is not None}

    def number(self, name: str) -> int | None:
        """A number, signed where the kernel prints it so: decimal, or hexadecimal behind 0x."""
        text = self.lines.get(f"NUMBER({name})", "")
        if text.startswith("0x"):
            return _hexadecimal(text)
        return int(text) if _DECIMAL.fullmatch(text) else None

    def size(self, name: str) -> int | None:
        """The bytes of a type."""
        text = self.lines.get(f"SIZE({name})", "")
        return int(text) if _DECIMAL.fullmatch(text) else None

    def offset(self, name: str) -> int | None:
        """Where a member is, in bytes; `name` as `page.private`."""
        text = self.lines.get(f"OFFSET({name})", "")
        return int(text) if _DECIMAL.fullmatch(text) else None

    @property
    def page_size(self) -> int | None:
        """Bytes a page; None where it is not told, or none that a kernel with KHO has."""
        text = self.lines.get("PAGESIZE", "")
        told = int(text) if _DECIMAL.fullmatch(text) else None
        return told if told in PAGE_SIZES else None


def _hexadecimal(text: str) -> int | None:
    match = _HEX.fullmatch(text)
    return int(match[1], 16) & _ALL_BITS if match else None
