"""The same answer from every container and from every split of it, and it is the reference's."""

from __future__ import annotations

from itertools import pairwise

from . import listing
from .case import Case
from .command import tell, tell_well

KINDS = 4  # of eight; each is chosen in one case or another


def hold(case: Case) -> None:
    for kind in case.rng.sample(case.kinds(), KINDS):
        image = case.image(kind)
        assert listing.pages_of(*image) == case.rows, kind
    in_walk_order(case)
    runs(case)
    without_being_told(case)


def in_walk_order(case: Case) -> None:
    """As the kernel's own walk gives them."""
    told = tell_well("inspect", case.elf, "--pages", "--sort", "walk", "-q", "-f", "jsonl")
    assert listing.blocks(told) == [tuple(block) for block in case.answer.preserved.blocks]


def runs(case: Case) -> None:
    """Runs are the same blocks, and cannot be joined any further."""
    rows = tell_well("inspect", case.elf, "-q", "-f", "jsonl").rows
    assert listing.sizes(rows, case.known.page_size) == case.rows
    for before, after in pairwise(rows):
        assert (before["end"], before["order"]) != (after["phys"], after["order"])
    for row in rows:
        assert row["end"] - row["phys"] == row["size"] == row["count"] * case.known.page_size << row["order"]


def without_being_told(case: Case) -> None:
    """A dump that does not name its kernel, page size or place: the right answer, or a status that says it is none."""
    images = [case.image("lime", tells=False)[0]]
    if "raw" in case.kinds():
        images.append(case.image("raw")[0].removesuffix("@0"))
    for image in images:
        told = tell("inspect", image, "--pages", "-v", "-f", "jsonl")
        if told.status == 0:
            assert listing.blocks(told) == case.rows, told.stderr
        elif told.stdout:
            assert set(listing.blocks(told)) <= set(case.rows), told.stderr
