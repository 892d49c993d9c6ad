"""What can be wrong with the data: decoders return findings beside what they could read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from khodump.owner import Owner


class Severity(StrEnum):
    """How bad a finding is for the next kernel."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Entry(NamedTuple):
    """Where something stands that names memory, or counts it.

    Attributes:
        what: for a person: "entry 3 of the list of folios".
        at: its physical address.
    """

    what: str
    at: int

    @property
    def place(self) -> str:
        """What it is, and where."""
        return f"{self.what}, at {self.at:#x}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with the data.

    Attributes:
        rule: stable name of what was violated, such as `map-pointer-unaligned`.
        severity: how bad it is for the next kernel.
        phys: physical byte address of the offending structure, where there is one.
        message: what is there, what it should be, and what follows for the reader.
        evidence: the numbers seen (slot, value, level, key prefix, ...), by name.
        owner: whose the structure is; None for what belongs to KHO itself.
        unread: it is about what the image does not hold: nothing is known to be wrong with that.
        entry: where the bad entry stands, which is not where it points; None where `phys` says it, or nothing does.
    """

    rule: str
    severity: Severity
    phys: int | None
    message: str
    evidence: Mapping[str, int] = field(default_factory=dict)
    owner: Owner | None = None
    unread: bool = False
    entry: Entry | None = None
