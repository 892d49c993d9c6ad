"""What a map comes to, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from khodump.columns.extents import OrderTotal
from khodump.findings import Finding
from khodump.handover import Handover


@dataclass(frozen=True)
class Census:
    """One map, without its runs.

    Attributes:
        totals: what is preserved, by order.
        nodes: how many pages the map itself has.
        findings: what is wrong with it.
    """

    totals: tuple[OrderTotal, ...]
    nodes: int
    findings: tuple[Finding, ...] = ()

    @property
    def size(self) -> int:
        """Preserved bytes; a page that is preserved at two orders counts twice."""
        return sum(total.size for total in self.totals)


def census(handover: Handover) -> Census:
    """Of a handover whose runs are held."""
    return Census(handover.preserved.totals(), len(handover.nodes), handover.findings)
