"""The kernel's circular lists: include/linux/list.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.virtual import VirtualMemory


class Ring(NamedTuple):
    """The list behind one list_head.

    Attributes:
        nodes: virtual addresses of the list_heads in its entries, in its order, all of them readable.
        problem: why it does not lead back to its head, if it does not.
    """

    nodes: tuple[int, ...]
    problem: WhyNot | None = None


@dataclass(frozen=True)
class Lists:
    """Lists that have nothing in common: no entry is in two of them, or twice in one.

    Attributes:
        memory: the kernel's memory.
        next: where in a list_head the pointer to the next one is, in bytes.
        most: entries of all lists together, for those that an image makes up.
        met: all list_heads that were met.
    """

    memory: VirtualMemory
    next: int
    most: int
    met: set[int]

    def ring(self, head: int, what: str) -> Ring:
        """The list behind the list_head at virtual address `head`."""
        nodes: list[int] = []
        at = head
        while True:
            following = self.memory.pointer_at(at + self.next)
            if isinstance(following, WhyNot):
                return Ring(tuple(nodes), following.within(f"{what} after {len(nodes)} entries"))
            if at != head:
                nodes.append(at)
            if following == head:
                return Ring(tuple(nodes))
            problem = self._refusal(following, len(nodes), what)
            if problem is not None:
                return Ring(tuple(nodes), problem)
            self.met.add(following)
            at = following

    def _refusal(self, node: int, number: int, what: str) -> WhyNot | None:
        """Why the list cannot go on at `node`."""
        if node in self.met:
            message = f"{what} goes on at {node:#x} after {number} entries, which was met before"
            return WhyNot(Reason.DAMAGED, message)
        if len(self.met) >= self.most:
            message = f"{what} goes on after {number} entries, and all lists have {self.most}: more than any kernel keeps"
            return WhyNot(Reason.DAMAGED, message)
        return None
