"""What a dump is made of, and what it may say of the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.reference.read.memory import Memory

X86_64 = 62
AARCH64 = 183


@dataclass(frozen=True)
class Picture:
    """A machine's memory at a moment. With ``tells``, the dump has a VMCOREINFO."""

    memory: Memory
    page_size: int
    ram_end: int
    release: str
    tells: bool = True

    @property
    def machine(self) -> int:
        return X86_64 if self.page_size == 4096 else AARCH64

    @property
    def vmcoreinfo(self) -> bytes:
        lines = [f"OSRELEASE={self.release}", f"PAGESIZE={self.page_size}", "SIZE(page)=64"]
        return "".join(f"{line}\n" for line in lines).encode() if self.tells else b""

    def runs(self) -> Iterator[tuple[int, bytes]]:
        return self.memory.runs()
