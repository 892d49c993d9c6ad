"""512 bytes or a page: kho-v1 does not say how large its bitmaps are."""

from __future__ import annotations

import numpy as np
import pytest

from khodump.trackers.bitmap_chain import BitmapChainTracker
from khodump.trackers.bitmap_size import BitmapSize, Elements, tell_bitmap_size
from tests.builders.khoser import write_chain
from tests.builders.memory import MemoryImage, opened

#: Of a bitmap at order 0 with 4 KiB pages, by its size.
SMALL, LARGE = 1 << 24, 1 << 27
ALIGNED = ((0, 0), (LARGE, 0))  # two bitmaps: too few to tell by their alignment


def told(starts, *, release: str = "", page_size: int = 4096, apart: int | None = None) -> BitmapSize:
    """What is made of bitmaps for these (phys_start, order), `apart` bytes from each other (by default a page)."""
    phys_start, order = np.array(starts, np.uint64).reshape(-1, 2).T
    bitmap = np.arange(1, len(order) + 1, dtype=np.uint64) * np.uint64(apart or page_size)
    return tell_bitmap_size(
        Elements(phys_start, bitmap, order, np.zeros_like(order), np.arange(len(order))), page_size, release
    )


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_an_unaligned_bitmap_proves_small_ones(page_size):
    found = told([(0, 0), (1 << 40, 0)], page_size=page_size, apart=512)
    assert (found.size, found.certain) == (512, True)
    assert "not page-aligned" in found.reason


@pytest.mark.parametrize(
    ("blocks", "page_size"),
    [
        ([(SMALL, 0)], 4096),
        ([(LARGE, 1)], 4096),
        ([(LARGE, 0)], 16384),  # where a page covers 2 GiB
        ([(1 << 31, 0)], 65536),  # and 32 GiB
    ],
)
def test_a_start_that_no_large_bitmap_has_proves_small_ones(blocks, page_size):
    found = told(blocks, page_size=page_size)
    assert (found.size, found.certain) == (512, True)
    assert "start where none of a page can" in found.reason


@pytest.mark.parametrize("order", [0, 1, 9])
def test_elements_close_together_prove_small_ones(order):
    found = told([(0, order), (LARGE << order, order), ((LARGE + SMALL) << order, order)])
    assert (found.size, found.certain) == (512, True)


@pytest.mark.parametrize(
    "damage",
    [(LARGE, 4096 | 1), (LARGE, 4096 | 8), (LARGE | 4096, 4096)],
    ids=["bitmap", "bitmap+8", "start"],
)
def test_what_neither_kernel_writes_is_damage_and_no_proof(damage):
    """Taken for proof, one bad pointer would lose most of a map whose kernel is known."""
    phys_start, bitmap = (
        np.array([good, bad], np.uint64) for good, bad in zip((0, 8192), damage, strict=True)
    )
    none = np.zeros(2, np.uint64)
    assert (
        tell_bitmap_size(Elements(phys_start, bitmap, none, none, np.arange(len(none))), 4096, "6.18.3").size
        == 4096
    )


@pytest.mark.parametrize("blocks", [ALIGNED, [(0, 0), (0, 1)], [(0, 0), (LARGE, 0), (2 * LARGE, 1)]])
def test_elements_as_far_apart_as_large_ones_prove_nothing(blocks):
    found = told(blocks)
    assert (found.size, found.certain) == (4096, False)
    assert "a guess" in found.reason


def test_proof_outweighs_the_release():
    assert told([(SMALL, 0)], release="7.0.1").size == 512


@pytest.mark.parametrize(
    ("release", "size"),
    [
        ("6.16.0", 512),
        ("6.17.0-rc4", 512),
        ("6.17.8", 512),
        ("6.17.8-200.fc42.x86_64", 512),
        ("6.18.0", 4096),
        ("6.18.0-1-default", 4096),
        ("6.18.3", 4096),
        ("6.19", 4096),
        ("6.19.0-rc1", 4096),
        ("7.0.1", 4096),
    ],
)
def test_the_release_tells(release, size):
    assert told(ALIGNED, release=release) == BitmapSize(size, f"release {release}", certain=True)


@pytest.mark.parametrize(
    "release", ["6.17.9", "6.17.12", "6.18.0-rc1", "6.18.0-rc3", "6.18.0-rc7", "", "next"]
)
def test_releases_that_may_have_either_size_tell_nothing(release):
    assert told(ALIGNED, release=release).certain is False


def test_a_release_below_the_change_outweighs_alignment():
    blocks = [(index * LARGE, 0) for index in range(8)]
    assert told(blocks, release="6.17.8").size == 512


@pytest.mark.parametrize(("count", "certain"), [(1, False), (3, False), (4, True), (9, True)])
def test_many_bitmaps_that_are_all_aligned_tell(count, certain):
    found = told([(index * LARGE, 0) for index in range(count)], release="6.17.9")
    assert (found.size, found.certain) == (4096, certain)
    assert certain is ("all page-aligned" in found.reason)


def test_an_empty_chain_is_a_guess():
    found = told([])
    assert (found.size, found.certain) == (4096, False)


def test_a_bitmap_that_repeats_is_one():
    (start, bitmap, order, chunk) = (np.full(9, value, np.uint64) for value in (0, 4096, 0, 0))
    assert (
        tell_bitmap_size(Elements(start, bitmap, order, chunk, np.arange(len(order))), 4096, "").certain
        is False
    )


def test_the_tracker_goes_by_the_release():
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 4096, ALIGNED)
    with opened(image) as memory:
        tracker = BitmapChainTracker(memory, chain.root, 4096, release="6.17.8")
    assert tracker.bitmap_size == BitmapSize(512, "release 6.17.8", certain=True)
    assert "512 B bitmaps, by release 6.17.8" in tracker.shape


def test_a_guess_is_put_in_doubt_and_a_proof_is_not():
    image = MemoryImage(1 << 20)
    guess = write_chain(image, 4096, 4096, ALIGNED)
    proof = write_chain(image, 4096, 512, [(SMALL, 0)])
    with opened(image) as memory:
        doubt = BitmapChainTracker(memory, guess.root, 4096).doubt
        assert doubt is not None
        assert "version='kho-v1a' or kho-v1b settles it" in str(doubt)
        assert BitmapChainTracker(memory, proof.root, 4096).doubt is None
        assert BitmapChainTracker(memory, guess.root, 4096, 512).doubt is None, "told is not guessed"


@pytest.mark.parametrize(("count", "stray", "size"), [(4, 1, 4096), (12, 3, 4096), (3, 1, 512), (7, 2, 512)])
@pytest.mark.parametrize("kind", ["pointer", "start"])
def test_few_strays_among_many_are_damage(count, stray, size, kind):
    """Objects of 512 bytes are page-aligned once in 8, and so are starts: so many are no chance."""
    start = np.arange(count + stray, dtype=np.uint64) * np.uint64(LARGE)
    bitmap = np.arange(1, count + stray + 1, dtype=np.uint64) * np.uint64(4096)
    (bitmap if kind == "pointer" else start)[count:] += np.uint64(512 if kind == "pointer" else SMALL)
    none = np.zeros_like(start)
    found = tell_bitmap_size(Elements(start, bitmap, none, none, np.arange(len(start))), 4096, "")
    assert found.size == size
    assert found.certain is (size == 512), "damage leaves it a guess"
