"""A root FDT that leads to no map: what is left of a handover then."""

from __future__ import annotations

from dataclasses import dataclass

from khodump.errors import KhodumpError
from khodump.memory import OfMemory, PhysicalMemory
from khodump.opening.locate import RootFdt


@dataclass(frozen=True)
class MaplessRoot(OfMemory):
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
