"""Shallow 16 KiB trees: where the keys of single pages end is worked out from the keys themselves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import khodump
from tests.builders.handover import Description, build_handover
from tests.builders.radix import Block

PAGE = 16384
GIB, TIB = 1 << 30, 1 << 40


def listed(tmp_path, blocks: tuple[Block, ...], start: int = 1 << 20) -> tuple[set[Block], set[Block], bool]:
    """What is listed of a shallow tree that keeps these, what should be, and whether a guess is admitted."""
    built = build_handover(
        Description(
            "kho-v3",
            page_size=PAGE,
            counts_marker=False,
            preservations=blocks,
            metadata_start=start,
            metadata_end=1 << 52,
        )
    )
    path = built.image.to_elf(tmp_path / "core", machine=183)
    with khodump.open(path, page_size=PAGE) as handover:
        guessed = any("a guess" in str(note) for note in handover.notes)
        return set(handover.preserved), set(built.blocks), guessed


@pytest.mark.parametrize(
    "blocks",
    [
        ((TIB, 0),),
        ((TIB, 0), (TIB + 0x19C69 * PAGE, 0)),
        ((3 * TIB, 0), (7 * TIB + 5 * PAGE, 0)),
        ((8 * TIB + 0x5_4000 * PAGE, 0),),
        ((200 * TIB + 99 * PAGE, 0),),
    ],
    ids=["at 1 TiB", "in the second TiB", "below 8 TiB", "above 8 TiB", "at 200 TiB"],
)
def test_pages_above_all_that_the_dump_holds_are_pages(tmp_path, blocks):
    found, expected, _ = listed(tmp_path, blocks)
    assert found == expected


def test_pages_as_high_as_the_map_itself_are_pages(tmp_path):
    start = 16 * TIB
    found, expected, guessed = listed(tmp_path, ((start + GIB, 0), (start + 2 * GIB, 0)), start)
    assert found == expected
    assert not guessed


@pytest.mark.parametrize("order", range(1, 20))
def test_blocks_stay_blocks(tmp_path, order):
    at = max(PAGE << order, GIB)
    found, expected, guessed = listed(tmp_path, ((at, order), (GIB // 2, 0)))
    assert found == expected or guessed


def test_what_the_evidence_does_not_decide_is_called_a_guess(tmp_path):
    """One key: the page at 16 TiB, or a block of 16 GiB at 0."""
    found, expected, guessed = listed(tmp_path, ((16 * TIB, 0),))
    assert found == expected or guessed


@settings(max_examples=60, deadline=None)
@given(
    pages=st.sets(st.integers(0, 51).flatmap(lambda bit: st.integers(0, (1 << bit) // PAGE)), max_size=8),
    start=st.sampled_from([1 << 20, GIB, 40 * GIB, 2 * TIB, 64 * TIB]),
)
def test_pages_anywhere_are_right_or_a_guess_is_said(tmp_path_factory, pages, start):
    clear = tuple((page * PAGE, 0) for page in pages if not start <= page * PAGE < start + (1 << 24))
    found, expected, guessed = listed(tmp_path_factory.mktemp("shallow"), clear, start)
    assert found == expected or guessed
