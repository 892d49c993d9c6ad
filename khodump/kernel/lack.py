"""Why something could not be had of the running kernel: a value, never an exception."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from khodump.findings import Finding, Severity
from khodump.owner import Owner
from khodump.problems import Problem


class Reason(StrEnum):
    """What kind of thing is missing."""

    NO_VMCOREINFO = "no-vmcoreinfo"
    UNKNOWN_MACHINE = "unknown-machine"
    NO_KALLSYMS = "no-kallsyms"
    NO_DATA_SYMBOLS = "no-data-symbols"
    NO_KHO = "no-kho"
    NO_SYMBOL = "no-symbol"
    NO_BTF = "no-btf"
    NO_TYPE = "no-type"
    NO_MEMBER = "no-member"
    AMBIGUOUS = "ambiguous"
    NOT_MAPPED = "not-mapped"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    CONTRADICTED = "contradicted"


#: What an image has of a kernel, and what cannot be read, or not be believed.
_LOST: Final = (Reason.UNREADABLE, Reason.NOT_MAPPED, Reason.DAMAGED, Reason.CONTRADICTED)


@dataclass(frozen=True, slots=True)
class WhyNot:
    """What is missing, and what follows.

    Attributes:
        reason: for code.
        message: for a person, one sentence without its full stop.
        phys: physical address of the bytes that are missing or wrong, where they have one.
    """

    reason: Reason
    message: str
    phys: int | None = None

    def within(self, what: str) -> WhyNot:
        """The same, said of something larger."""
        return WhyNot(self.reason, f"{what}: {self.message}", self.phys)

    def finding(self, problem: Problem, owner: Owner | None = None) -> Finding:
        """The same as a finding, for what could be read around it.

        Only damage is the kernel's own. Whatever else keeps something from being read speaks against no kernel; but then
        what was asked for is told only in part, however mild the damage itself would be.
        """
        told = problem.finding(self.phys, self.message, owner)
        if self.reason is Reason.DAMAGED:
            return told
        return replace(told, severity=Severity.ERROR, unread=True)

    @property
    def is_loss(self) -> bool:
        """Whether the image should tell of it, and does not; no kernel that lacks it by its nature is meant."""
        return self.reason in _LOST
