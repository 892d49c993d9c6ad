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


@given(bitmaps())
def test_runs_of_set_bits(bitmap):
    rows, width = bitmap
    expected = []
    for index, row in enumerate(rows):
        base, bits = index * width * 64, set(bits_of(row))
        firsts = sorted(bit for bit in bits if bit - 1 not in bits)
        lasts = sorted(bit for bit in bits if bit + 1 not in bits)
        expected += [(base + first, base + last) for first, last in zip(firsts, lasts, strict=True)]
    first, last = runs_of_set_bits(array(rows, width))
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == expected


@pytest.mark.parametrize("dtype", ["<u8", "=u8"])
def test_the_argument_stays_as_it_was(dtype):
    words = np.array([[FULL, 0, 7]], dtype)
    runs_of_set_bits(words)
    assert words.tolist() == [[FULL, 0, 7]]
