"""The writer against the reader: what was put down is what is found."""

from __future__ import annotations

import pytest

from .read import handover
from .read.dialects import DIALECTS, PAGE_SHIFTS
from .write.handover import write


@pytest.mark.parametrize("shift", PAGE_SHIFTS)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_what_was_kept_is_what_is_read(dialect, shift):
    """All of it, once, and nothing of the map is damaged; whatever is claimed is kept."""
    for seed in range(2):
        written = write(seed, dialect, shift)
        answer = handover.read(written.memory, written.fdt_at, written.known)
        assert sorted(answer.preserved.blocks) == sorted(written.kept), written
        assert answer.preserved.damage == [], written
        kept = {(phys >> shift) + page for phys, order in written.kept for page in range(1 << order)}
        for owner in answer.claims.ranges:
            assert answer.claims.pages(owner) <= kept, (str(written), owner)


def test_the_same_seed_gives_the_same_bytes():
    first, second = write(7), write(7)
    assert first.memory.grains == second.memory.grains
    assert first.kept == second.kept
