"""The kernel's memory as the kernel sees it: bytes by virtual address, or why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from khodump.kernel.addresses import AddressSpace
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.pagetables import Mapping
from khodump.memory import Hole

_POINTER: Final = 8
_ALL_BITS: Final = (1 << 64) - 1
_STRING_STEP: Final = 64

Translation = Callable[[int], Mapping | WhyNot]


@dataclass(frozen=True)
class VirtualMemory:
    """One kernel's memory.

    Attributes:
        space: where its addresses lie.
    """

    space: AddressSpace

    def symbol_bytes(self, va: int, size: int) -> bytes | WhyNot:
        """`size` bytes of the kernel's image."""
        return self._read(self.space.of_symbol, va, size)

    def symbol_bytes_until(self, va: int, size: int) -> tuple[bytes, WhyNot | None]:
        """As much of that as can be read, page by page, and why there is no more."""
        page_size = self.space.pages.page_size
        parts: list[bytes] = []
        at, end = va, va + size
        while at < end:
            step = min(page_size - at % page_size, end - at)
            part = self.symbol_bytes(at, step)
            if isinstance(part, WhyNot):
                return b"".join(parts), part
            parts.append(part)
            at += step
        return b"".join(parts), None

    def read(self, va: int, size: int) -> bytes | WhyNot:
        """`size` bytes from where a pointer leads."""
        return self._read(self.space.of_pointer, va, size)

    def phys(self, va: int) -> int | WhyNot:
        """The physical address that a pointer leads to."""
        told = self.space.of_pointer(va)
        return told if isinstance(told, WhyNot) else told.phys

    def pointer_at(self, va: int) -> int | WhyNot:
        """The pointer, or any other 64 bits, that another leads to."""
        data = self.read(va, _POINTER)
        return data if isinstance(data, WhyNot) else int.from_bytes(data, "little")

    def string_at(self, va: int, most: int) -> bytes | WhyNot:
        """The bytes before the NUL, of which there are at most `most`."""
        data = b""
        while len(data) < most and b"\0" not in data:
            at = va + len(data)
            step = min(_STRING_STEP - at % _STRING_STEP, most - len(data))
            part = self.read(at, step)
            if isinstance(part, WhyNot):
                return part
            data += part
        return data.partition(b"\0")[0]

    def _read(self, translation: Translation, va: int, size: int) -> bytes | WhyNot:
        parts: list[bytes] = []
        end = va + size
        if end > _ALL_BITS:
            return WhyNot(Reason.NOT_MAPPED, f"{size} bytes at {va:#x} reach over the end of all addresses")
        while va < end:
            mapping = translation(va)
            if isinstance(mapping, WhyNot):
                return mapping
            length = min(end - va, mapping.left)
            data = self.space.pages.read(mapping.phys, length)
            if isinstance(data, Hole):
                return self._missing(va + data.phys - mapping.phys, data)
            parts.append(data)
            va += length
        return b"".join(parts)

    def _missing(self, va: int, hole: Hole) -> WhyNot:
        why = self.space.pages.memory.hole_at(hole.phys, hole.presence)
        message = f"the kernel's {va:#x}, physically at {hole.phys:#x}, is {why}"
        return WhyNot(Reason.UNREADABLE, message, hole.phys)
