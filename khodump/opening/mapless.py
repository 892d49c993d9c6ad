"""A root FDT that leads to no map: what is left of a handover then."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from khodump.errors import KhodumpError
from khodump.memory import PhysicalMemory
from khodump.opening.locate import RootFdt


@dataclass(frozen=True)
class MaplessRoot:
    """A root FDT that leads to no map, but is what the next kernel is handed.

    Attributes:
        memory: the image.
        phys: physical address of the root FDT, when known.
        blob: its bytes, as far as its header tells.
        fdt: what they say, where they are a valid FDT.
        problem: why there is no handover.
    """

    memory: PhysicalMemory
    phys: int | None
    blob: bytes
    fdt: RootFdt | None
    problem: KhodumpError

    @property
    def notes(self) -> tuple[str, ...]:
        """As `Handover.notes`: what is wrong with the image as a whole."""
        return self.memory.warnings

    def close(self) -> None:
        """Close the image files."""
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
