from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.trackers.bitmaps import runs_of_set_bits, set_bits

FULL = (1 << 64) - 1
WORDS = st.one_of(
    st.sampled_from([0, FULL, 1, 1 << 63, 1 << 63 | 1, FULL ^ 1, FULL >> 1]), st.integers(0, FULL)
)


@st.composite
def bitmaps(draw):
    """Rows of words, as many in each."""
    width = draw(st.integers(1, 5))
    return draw(st.lists(st.lists(WORDS, min_size=width, max_size=width), max_size=5)), width


def bits_of(row: list[int]) -> list[int]:
    return [i * 64 + bit for i, word in enumerate(row) for bit in range(64) if word >> bit & 1]


def array(rows: list[list[int]], width: int):
    return np.array(rows, np.uint64).reshape(-1, width)


@given(bitmaps())
def test_set_bits(bitmap):
    rows, width = bitmap
    flat = [word for row in rows for word in row]
    assert set_bits(array(rows, width)).tolist() == bits_of(flat)


def runs_of_bits(positions: list[int], cuts: set[int]) -> list[tuple[int, int]]:
    """(first, count) of what follows each other, one bit at a time."""
    runs: list[tuple[int, int]] = []
    for at in positions:
        if runs and sum(runs[-1]) == at and at not in cuts:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((at, 1))
    return runs


@given(bitmaps(), st.lists(st.booleans(), min_size=5, max_size=5))
def test_runs_of_set_bits(bitmap, told):
    rows, width = bitmap
    bits = bits_of([word for row in rows for word in row])
    for apart in (None, np.array(told[: len(rows)], np.bool_)):
        cuts = {row * width * 64 for row in range(len(rows)) if apart is None or apart[row]}
        first, count = runs_of_set_bits(array(rows, width), apart)
        assert list(zip(first.tolist(), count.tolist(), strict=True)) == runs_of_bits(bits, cuts)


@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.05, 0.3, 0.9, 0.999, 1])
def test_runs_of_set_bits_however_full_the_words(share):
    generator = np.random.default_rng(5)
    bits = generator.random((8, 4096)) < share
    bits[5] = generator.random(4096) < 0.5  # not all alike
    words = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
    positions = np.flatnonzero(bits).tolist()
    for apart in (None, np.zeros(8, np.bool_)):
        cuts = set(range(0, 8 * 4096, 4096)) if apart is None else set()
        first, count = runs_of_set_bits(words, apart)
        assert list(zip(first.tolist(), count.tolist(), strict=True)) == runs_of_bits(positions, cuts)


@pytest.mark.parametrize("dtype", ["<u8", "=u8"])
def test_the_argument_stays_as_it_was(dtype):
    words = np.array([[FULL, 0, 7]], dtype)
    runs_of_set_bits(words)
    assert words.tolist() == [[FULL, 0, 7]]
