"""Whether a later kernel of the same memory has taken a handover over, which tells decay from damage.

The kernel that receives a handover walks the map once, early in boot, and gives the map's own pages to the page allocator
right after (kho_mem_retrieve() of kernel/liveupdate/kexec_handover.c in 7.3, deserialize_bitmap() before 7.1); LUO's state
goes the same way when it was read. Only the root FDT stays. So in the memory of a healthy kernel that was booted through
KHO, the map that the incoming root FDT names holds anybody's data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from khodump.findings import Finding, Severity
from khodump.opening.candidates import Candidate
from khodump.opening.locate import RootFdt
from khodump.subtrees.kexec_metadata import KexecMetadata

STALE_INCOMING: Final = "stale-incoming"


@dataclass(frozen=True)
class Successor:
    """The kernel that took a handover over.

    Attributes:
        fdt: physical address of the root FDT of its own, outgoing handover; None where it is known by other means.
        basis: what says so, for a person.
    """

    fdt: int | None
    basis: str

    @property
    def message(self) -> str:
        """What happened to the handover, and how that is known."""
        who = "this kernel" if self.fdt is None else "the kernel that runs in this image"
        return f"{who} took the handover over at boot and gave its map back: {self.basis}"

    def finding(self, phys: int | None) -> Finding:
        """The same as a finding against nobody, for the handover whose root FDT is at `phys`."""
        evidence = {} if self.fdt is None else {"value": self.fdt}
        return Finding(STALE_INCOMING, Severity.INFO, phys, self.message, evidence)


#: Where the kernel itself says that it received the handover: kho_in, or debugfs' kho/in.
RECEIVED: Final = Successor(None, "it is the one that this kernel received")


def find_successor(
    root: RootFdt, metadata: KexecMetadata | None, candidates: Iterable[Candidate], *, is_intact: bool
) -> Successor | None:
    """The kernel among the candidates that took over the handover of `root`; None where nothing says that one did.

    Every kernel keeps the page of its own root FDT in its own map, and counts one kexec more than the one before it.

    Args:
        root: the root FDT in question.
        metadata: the kernel that made it, where it says so.
        candidates: all root FDTs of the image.
        is_intact: whether the page of `root` is still in its own map.
    """
    for other in candidates:
        if other.fdt is None or other.own_page_preserved is not True or other.fdt.blob == root.blob:
            continue
        where = f"its own root FDT is at {other.phys:#x}"
        if metadata is not None and other.metadata is not None:
            theirs, ours = other.metadata.kexec_count, metadata.kexec_count
            if theirs > ours:
                return Successor(other.phys, f"{where}, with kexec count {theirs}, and this one says {ours}")
        elif not is_intact:
            return Successor(
                other.phys, f"{where} and in its own map, and this one is not in its own, or no longer"
            )
    return None
