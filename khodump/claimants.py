"""Who claims single addresses, preserved or not, and in which entry each says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from khodump.columns.arrays import U64
from khodump.findings import Entry
from khodump.handover import Handover
from khodump.owner import Owner
from khodump.ownership import resolved
from khodump.subtree import Claims

#: Of a hostile image that claims an address over and over, the first are enough.
_MOST: Final = 16


class Claimant(NamedTuple):
    """One that claims an address.

    Attributes:
        owner: who it is.
        entry: what names the memory; None where that is not known.
    """

    owner: Owner
    entry: Entry | None


def find_claimants(handover: Handover, addresses: Sequence[int]) -> Mapping[int, tuple[Claimant, ...]]:
    """Those that claim each of these addresses, in the order in which they claim; reads all lists once."""
    wanted = np.unique(np.array(addresses, np.uint64))
    by_address: dict[int, list[Claimant]] = {int(address): [] for address in wanted}
    for claims in handover.claims():
        start, end = resolved(claims, handover.preserved)
        _add(by_address, wanted, claims, start, end)
    return {address: tuple(claimants) for address, claimants in by_address.items()}


def _add(by_address: Mapping[int, list[Claimant]], wanted: U64, claims: Claims, start: U64, end: U64) -> None:
    """Add one owner's claims to those of the addresses; `wanted` are these, ascending."""
    low = np.searchsorted(wanted, start, "left")
    high = np.searchsorted(wanted, end, "left")
    for row in np.flatnonzero(low < high).tolist():
        for address in wanted[low[row] : high[row]].tolist():
            if len(by_address[address]) < _MOST:
                by_address[address].append(Claimant(claims.owner, claims.named(row)))
