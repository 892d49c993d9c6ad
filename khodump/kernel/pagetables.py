"""The kernel's page tables, walked: what the processor itself would do with a virtual address."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, NamedTuple

from khodump.kernel.physical import PhysicalPages
from khodump.memory import Hole

_ENTRY: Final = 8


class Level(NamedTuple):
    """One level of tables.

    Attributes:
        shift: log2 of the bytes that an entry covers.
        slots: entries of a table.
    """

    shift: int
    slots: int


class Step(NamedTuple):
    """Where an entry leads: to a table, or to the memory itself."""

    phys: int
    is_leaf: bool


class Mapping(NamedTuple):
    """Where a virtual address lies, and how many bytes from there on are mapped in a row for sure."""

    phys: int
    left: int


class NotMapped(NamedTuple):
    """The tables say that nothing is there; `shift` is that of the level which says it."""

    shift: int


@dataclass(frozen=True)
class TableFormat(ABC):
    """How a machine's tables are laid out.

    Attributes:
        levels: from the root down.
    """

    levels: tuple[Level, ...]

    @abstractmethod
    def step(self, entry: int, level: Level) -> Step | None:
        """Where an entry of this level leads; None where it is not valid."""


@dataclass(frozen=True)
class PageTables:
    """The tables of one address space.

    Attributes:
        root: physical address of the topmost.
        format: how they are laid out.
    """

    root: int
    format: TableFormat

    def walk(self, pages: PhysicalPages, va: int) -> Mapping | NotMapped | Hole:
        """Where `va` lies, if it is mapped and the image holds the tables that say so."""
        table = self.root
        for level in self.format.levels:
            slot = (va >> level.shift) % level.slots
            data = pages.read(table + slot * _ENTRY, _ENTRY)
            if isinstance(data, Hole):
                return data
            step = self.format.step(int.from_bytes(data, "little"), level)
            if step is None:
                return NotMapped(level.shift)
            if step.is_leaf:
                offset = va % (1 << level.shift)
                return Mapping(step.phys + offset, (1 << level.shift) - offset)
            table = step.phys
        return NotMapped(self.format.levels[-1].shift)
