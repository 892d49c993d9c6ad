from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.abi.kho_order_table import HUGETLB_PAGE_ORDER, OrderGeometry, kho_order_table


@pytest.mark.parametrize(
    ("page_shift", "order", "levels"),
    [
        (12, 0, 6),
        (12, 9, 5),
        (12, 10, 4),
        (12, 36, 2),
        (12, 37, 1),
        (12, 51, 1),
        (14, 0, 4),
        (16, 0, 4),
        (16, 13, 3),
    ],
)
def test_levels(page_shift, order, levels):
    geometry = OrderGeometry.of(page_shift, order)
    assert geometry.depth == levels
    assert geometry.key_shift(levels - 1) >= geometry.key_width, "the tree covers the widest key"
    if levels > 1:
        assert geometry.key_shift(levels - 2) < geometry.key_width, "and a lower one would not"


@pytest.mark.parametrize(("page_shift", "highest"), [(12, 9), (14, 11), (16, 13)])
def test_a_huge_page_is_what_a_table_of_pages_maps(page_shift, highest):
    assert HUGETLB_PAGE_ORDER[page_shift] == highest == page_shift - 3


def test_a_path_is_cut_from_the_address():
    """4 KiB, order 0: 12 bits of page, 15 of bitmap, 9 a table; the RFC takes each index from the address itself."""
    phys = 0x0123_4567_89AB_C000
    slots, bit = OrderGeometry.of(12, 0).path(OrderGeometry.of(12, 0).encode(phys))
    assert slots == tuple(phys >> shift & 0x1FF for shift in (63, 54, 45, 36, 27))
    assert bit == phys >> 12 & 0x7FFF


@st.composite
def blocks(draw):
    """A geometry and a block that ends below 2**64."""
    shift = draw(st.sampled_from([12, 14, 16]))
    order = draw(st.integers(0, 63 - shift))
    index = draw(st.integers(0, (1 << 64 - shift - order) - 2))
    return OrderGeometry.of(shift, order), index << (shift + order)


@given(blocks())
def test_every_block_comes_back_from_its_key(block):
    geometry, phys = block
    key = geometry.encode(phys)
    assert geometry.decode(key) == (phys, geometry.order)
    slots, bit = geometry.path(key)
    assert len(slots) == geometry.depth - 1
    joined = 0
    for slot in slots:
        joined = joined << geometry.table_bits | slot
    assert joined << geometry.leaf_bits | bit == key


@pytest.mark.parametrize("order", [0, 9, 51])
def test_the_block_that_ends_at_the_end_of_the_address_space_is_none(order):
    geometry = OrderGeometry.of(12, order)
    last = (1 << geometry.key_width) - 1
    assert geometry.decode(last) is None
    assert geometry.decode(last - 1) == ((last - 1) << (12 + order), order)


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_an_order_table_fills_a_page(page_size):
    assert kho_order_table(page_size).sizeof() == page_size
