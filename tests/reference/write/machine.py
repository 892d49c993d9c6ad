"""A made-up machine: its RAM, what is taken of it, and what is to be kept across kexec."""

from __future__ import annotations

from bisect import bisect_right, insort
from random import Random

from tests.reference.read.maps import Block
from tests.reference.read.memory import Memory

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

TRIES = 500


class FullError(Exception):
    """No room was found for a block: the machine is too small for what it was asked for."""


class Machine:
    """Hands out blocks of RAM, all over it, and remembers which of them were preserved."""

    def __init__(
        self, rng: Random, page_shift: int, ram: list[tuple[int, int]], highest_order: int = 12
    ) -> None:
        self.rng = rng
        self.highest_order = highest_order
        self.page_shift = page_shift
        self.page_size = 1 << page_shift
        self.ram = ram
        self.memory = Memory()
        self.kept: list[Block] = []
        self._taken: list[tuple[int, int]] = []
        self._last = 0

    @property
    def ram_end(self) -> int:
        return max(end for _, end in self.ram)

    def take(self, order: int) -> int:
        """A free block, naturally aligned; often the one behind the last, as buddy allocators give them."""
        size = self.page_size << order
        if self.rng.random() < 0.5 and self._free(self._last, size) and self._last % size == 0:
            return self._occupy(self._last, size)
        for _ in range(TRIES):
            phys = self._somewhere(size)
            if phys is not None and self._free(phys, size):
                return self._occupy(phys, size)
        raise FullError

    def page(self) -> int:
        """A page of zeros for the kernel's own use, not preserved."""
        phys = self.take(0)
        self.memory.clear(phys, self.page_size)
        return phys

    def mark_end(self) -> None:
        """Put zeros into RAM's last page, so that every dump tells where RAM ends."""
        last = self.ram_end - self.page_size
        self.memory.clear(self._occupy(last, self.page_size), self.page_size)

    def keep(self, order: int) -> int:
        """A block that is preserved as one; its bytes are nobody's yet."""
        phys = self.take(order)
        self.kept.append(Block(phys, order))
        return phys

    def keep_zeroed(self, size: int) -> int:
        """As kho_alloc_preserve(): zeros, in a block of the smallest order that is large enough."""
        pages = -(-size // self.page_size)
        order = (pages - 1).bit_length()
        phys = self.keep(order)
        self.memory.clear(phys, self.page_size << order)
        return phys

    def keep_range(self, pages: int) -> int:
        """As kho_preserve_pages(): a range that need not be aligned, cut into the largest natural blocks."""
        room = self.take((2 * pages - 1).bit_length())
        first = (room >> self.page_shift) + self.rng.randrange(pages)
        self.kept += natural_blocks(first, first + pages, self.page_shift)
        return first << self.page_shift

    def _somewhere(self, size: int) -> int | None:
        start, end = self.rng.choice(self.ram)
        first = -(-start // size)
        last = end // size
        if first >= last:
            return None
        return self.rng.randrange(first, last) * size

    def _free(self, phys: int, size: int) -> bool:
        if not any(start <= phys and phys + size <= end for start, end in self.ram):
            return False
        at = bisect_right(self._taken, (phys, 0))
        after = at < len(self._taken) and self._taken[at][0] < phys + size
        before = at > 0 and self._taken[at - 1][1] > phys
        return not after and not before

    def _occupy(self, phys: int, size: int) -> int:
        insort(self._taken, (phys, phys + size))
        self._last = phys + size
        return phys


def natural_blocks(first: int, end: int, page_shift: int) -> list[Block]:
    """A range of page numbers as the largest naturally aligned blocks, from its start on."""
    blocks = []
    while first < end:
        order = (end - first).bit_length() - 1
        if first:
            order = min(order, (first & -first).bit_length() - 1)
        blocks.append(Block(first << page_shift, order))
        first += 1 << order
    return blocks


def random_ram(rng: Random) -> list[tuple[int, int]]:
    """Ranges of RAM, from a small guest's to 128 TiB, with and without a hole below 4 GiB."""
    size = rng.choice([256 * MIB, GIB, 6 * GIB, 64 * GIB, TIB, 16 * TIB, 128 * TIB])
    low = rng.choice([64 * KIB, MIB, 16 * MIB])
    if size <= 3 * GIB:
        return [(low, size)]
    ram = [(low, 3 * GIB), (4 * GIB, size)]
    if size >= 64 * GIB and rng.random() < 0.5:
        middle = size // 2
        ram = [(low, 2 * GIB), (4 * GIB, middle), (middle + GIB, size)]
    return ram
