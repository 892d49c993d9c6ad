"""Filtered by the command is filtered by hand."""

from __future__ import annotations

from . import listing
from .case import Case
from .command import tell_well


def hold(case: Case) -> None:
    for _ in range(3):
        orders = case.rng.sample(range(13), 2)
        by_order(case, orders)
        start, end = _range(case)
        by_range(case, start, end)


def by_order(case: Case, orders: list[int]) -> None:
    words = [word for order in orders for word in ("--order", str(order))]
    told = tell_well("inspect", case.elf, "--pages", *words, "-q", "-f", "jsonl")
    assert listing.blocks(told) == [block for block in case.rows if block[1] in orders]


def by_range(case: Case, start: int, end: int) -> None:
    """What touches the range, its end excluded."""
    told = tell_well("inspect", case.elf, "--pages", "--range", f"{start:#x}-{end:#x}", "-q", "-f", "jsonl")
    size = case.known.page_size
    touching = [(phys, order) for phys, order in case.rows if phys < end and start < phys + (size << order)]
    assert listing.blocks(told) == touching, (hex(start), hex(end))


def _range(case: Case) -> tuple[int, int]:
    """From about one block to about another, aligned to nothing."""
    ends = [case.rng.choice(case.rows)[0] + case.rng.choice([-1, 0, 1, 5000]) for _ in range(2)]
    start = max(0, min(ends))
    return start, max(*ends, start) + 1
