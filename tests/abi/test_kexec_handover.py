from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.abi.kexec_handover import (
    PAGE_SIZES,
    RadixGeometry,
    kho_radix_leaf,
    kho_radix_node,
    radix_depth,
)

G4K, G16K, G64K = (RadixGeometry(shift, depth) for shift, depth in ((12, 6), (14, 5), (16, 4)))
SHALLOW = RadixGeometry(14, 4, (1 << 40) >> 14)
GEOMETRIES = (G4K, G16K, G64K, SHALLOW)

#: Worked out by hand from kho_radix_encode_key(): geometry, phys, order, key, slots, bit in the leaf.
VECTORS = [
    (G4K, 0x1234000, 0, 0x10000000001234, (2, 0, 0, 0, 0), 4660),
    (G4K, 0x100000000, 9, 0x80000000800, (0, 2, 0, 0, 0), 2048),
    (G4K, 0x40000000, 18, 0x400000001, (0, 0, 2, 0, 0), 1),
    (G16K, 0x48D0000, 0, 0x4000000001234, (1, 0, 0, 0), 4660),
    (G16K, 0x100000000, 9, 0x20000000200, (0, 4, 0, 0), 512),
    (G64K, 0x12340000, 0, 0x1000000001234, (8, 0, 0), 4660),
    (G64K, 0x100000000, 9, 0x8000000080, (0, 128, 0), 128),
]


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors(vector):
    geometry, phys, order, key, slots, bit = vector
    assert geometry.encode(phys, order) == key
    assert geometry.decode(key) == (phys, order)
    assert geometry.path(key) == (slots, bit)


@pytest.mark.parametrize(
    ("page_shift", "shallow", "full", "bits"),
    [(12, 6, 6, (15, 9, 53)), (14, 4, 5, (17, 11, 51)), (16, 4, 4, (19, 13, 49))],
)
def test_geometry_table(page_shift, shallow, full, bits):
    assert radix_depth(page_shift, counts_marker=False) == shallow
    assert radix_depth(page_shift, counts_marker=True) == full
    geometry = RadixGeometry(page_shift, full)
    assert geometry.page_size == 1 << page_shift
    assert (geometry.leaf_bits, geometry.table_bits, geometry.key_width) == bits
    assert geometry.key_shift(full - 1) >= geometry.key_width, "the tree covers the widest key"
    covered = RadixGeometry(page_shift, shallow).key_shift(shallow - 1)
    assert (covered < geometry.key_width) is (page_shift == 14)


@st.composite
def blocks(draw):
    """A geometry and a block that ends below 2**64."""
    geometry = draw(st.sampled_from((G4K, G16K, G64K)))
    order = draw(st.integers(0, 63 - geometry.page_shift))
    size = geometry.page_shift + order
    return geometry, draw(st.integers(0, (1 << 64 - size) - 2)) << size, order


@given(blocks())
def test_every_block_comes_back_from_its_key(block):
    geometry, phys, order = block
    key = geometry.encode(phys, order)
    assert geometry.decode(key) == (phys, order)
    assert key.bit_length() <= geometry.key_width
    slots, bit = geometry.path(key)
    for slot in slots:
        assert slot < geometry.page_size // 8
    joined = 0
    for slot in slots:
        joined = joined << geometry.table_bits | slot
    assert joined << geometry.leaf_bits | bit == key


@given(st.sampled_from(GEOMETRIES), st.integers(0, (1 << 53) + 4))
def test_decode_follows_the_formula(geometry, key):
    order0_end, shift = geometry.order0_end, geometry.page_shift
    order = 64 - shift - (key.bit_length() - 1)
    if key < order0_end:
        expected = (key << shift, 0)
    elif not key or order < 0 or (order0_end and not order):
        expected = None
    else:
        phys = (key << (shift + order)) % (1 << 64)
        expected = (phys, order) if phys + (1 << (shift + order)) < 1 << 64 else None
    if order0_end and key >= 1 << geometry.key_shift(geometry.depth - 1):
        return  # a shallow tree has no place for such a key
    assert geometry.decode(key) == expected


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_bands_ascend_without_overlap(geometry):
    for lower, upper in pairwise(geometry.bands):
        assert lower.first <= lower.last < upper.first
    assert geometry.decode(0) == ((0, 0) if geometry.order0_end else None)


def test_a_shallow_tree_keeps_bare_page_numbers_apart_from_real_blocks():
    assert SHALLOW.encode(0x48D0000, 0) == 0x1234
    assert SHALLOW.decode(0x1234) == (0x48D0000, 0)
    assert SHALLOW.decode(SHALLOW.encode(0x100000000, 9)) == (0x100000000, 9)
    assert RadixGeometry(14, 4).decode(0x1234) == (0x2340000000000000, 38), "what the kernel makes of it"


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_nodes_fill_a_page(page_size):
    assert kho_radix_node(page_size).sizeof() == kho_radix_leaf(page_size).sizeof() == page_size
