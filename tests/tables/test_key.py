"""Keys against worked examples, against the slow walk's own arithmetic, and what is said of keys that cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.errors import UsageError
from khodump.tables.key import decode, encode
from tests.transcript import run

SHIFTS = {4096: 12, 16384: 14, 65536: 16}

#: Page size, depth, phys, order, key, slots from the top down, leaf bit.
VECTORS = [
    (4096, 6, 0x1234000, 0, 0x10000000001234, "2 > 0 > 0 > 0 > 0", 4660),
    (4096, 6, 0x100000000, 9, 0x80000000800, "0 > 2 > 0 > 0 > 0", 2048),
    (4096, 6, 0x40000000, 18, 0x400000001, "0 > 0 > 2 > 0 > 0", 1),
    (16384, 5, 0x48D0000, 0, 0x4000000001234, "1 > 0 > 0 > 0", 4660),
    (16384, 5, 0x100000000, 9, 0x20000000200, "0 > 4 > 0 > 0", 512),
    (65536, 4, 0x12340000, 0, 0x1000000001234, "8 > 0 > 0", 4660),
    (65536, 4, 0x100000000, 9, 0x8000000080, "0 > 128 > 0", 128),
    (16384, 4, 0x48D0000, 0, 0x4000000001234, "0 > 0 > 0", 4660),
    (16384, 4, 0x100000000, 9, 0x20000000200, "4 > 0 > 0", 512),
]


def rows_of(result) -> list[dict[str, Any]]:
    """The rows as dicts."""
    names = [column.name for column in result.rows.columns]
    return [
        dict(zip(names, row, strict=True)) for block in result.rows.blocks for row in zip(*block, strict=True)
    ]


def row_of(result, depth: int) -> dict[str, Any]:
    """The row of the tree of this depth."""
    (row,) = (row for row in rows_of(result) if row["depth"] == depth)
    return row


@pytest.mark.parametrize(("page_size", "depth", "phys", "order", "key", "slots", "bit"), VECTORS)
def test_worked_examples(page_size, depth, phys, order, key, slots, bit):
    for result in (encode(phys, order, page_size), decode(key, page_size)):
        row = row_of(result, depth)
        assert (row["phys"], row["order"], row["key"]) == (phys, order, key)
        assert (row["slots"], row["leaf bit"], row["page size"]) == (slots, bit, page_size)
        assert row["block size"] == page_size << order


def test_there_is_a_row_for_every_kind_of_tree():
    kinds = [(row["page size"], row["depth"]) for row in rows_of(decode(1 << 40))]
    assert kinds == [(4096, 6), (16384, 5), (16384, 4), (65536, 4)]
    assert [row["depth"] for row in rows_of(decode(1 << 40, 16384))] == [5, 4]
    assert [row["depth"] for row in rows_of(decode(1 << 40, 65536))] == [4]


@given(st.sampled_from(sorted(SHIFTS)), st.data())
def test_what_is_encoded_decodes_again(page_size, data):
    shift = SHIFTS[page_size]
    order = data.draw(st.integers(0, 64 - shift - 1))
    phys = data.draw(st.integers(0, (1 << 64 - shift - order) - 2)) << shift + order
    for row in rows_of(encode(phys, order, page_size)):
        assert row["key"] == 1 << 64 - shift - order | phys >> shift + order
        assert row["key bits"] == f"order bit {64 - shift - order} | {phys >> shift + order:#x}"
        if row["page size"] != 16384 or row["depth"] == 5:
            assert row_of(decode(row["key"], page_size), row["depth"]) == row


@given(st.integers(0, (1 << 64) - 1))
def test_every_key_is_decoded_or_refused_with_a_reason(key):
    for row in rows_of(decode(key)):
        assert row["key"] == key
        if row["phys"] is None:
            assert row["remarks"]
            assert row["slots"] is None
        else:
            assert row["phys"] + row["block size"] < 1 << 64
            assert row["phys"] % row["block size"] == 0


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (0, "no order bit"),
        (1, "its block of order 52 would reach 2^64"),
        (0xF, "its block of order 49 would reach 2^64"),
        ((1 << 53) - 1, "its block of order 0 would reach 2^64"),
        (1 << 53, "too wide: bit 53 is above bit 52, the order bit of order 0"),
        ((1 << 64) - 1, "too wide: bit 63"),
    ],
)
def test_keys_that_no_kernel_makes(key, says):
    (row,) = rows_of(decode(key, 4096))
    assert row["remarks"].startswith(says)
    assert row["phys"] is None


def test_keys_at_the_edge_are_made():
    (row,) = rows_of(decode((1 << 53) - 2, 4096))
    assert (row["phys"], row["order"]) == ((1 << 64) - 0x2000, 0)
    (row,) = rows_of(decode(2, 4096))
    assert (row["phys"], row["order"]) == (0, 51)


def test_shallow_trees_lose_the_order_bit_of_order_0():
    full, shallow = rows_of(encode(0x48D0000, 0, 16384))
    assert full["remarks"] is None
    assert shallow["remarks"] == "kept as 0x1234: the tree has no room for order bit 50"
    full, shallow = rows_of(decode(0x1234, 16384))
    assert (full["order"], full["phys"]) == (38, 0x2340000000000000)
    assert (shallow["order"], shallow["phys"], shallow["key bits"]) == (0, 0x48D0000, "no order bit | 0x1234")
    assert "or else order 38 at 0x2340000000000000" in shallow["remarks"]


def test_a_block_that_only_some_page_sizes_allow():
    small, *middle, large = rows_of(encode(0x1234000, 0))
    assert small["key"] == 0x10000000001234
    assert [row["order"] for row in middle] == [0, 0]
    assert large["key"] is None
    assert large["remarks"] == "not aligned to its 64 KiB: low bits 0x4000 would be lost"


@pytest.mark.parametrize(
    ("phys", "order", "page_size", "says", "hint"),
    [
        (0x1234567, 0, None, "low bits 0x567 would be lost", "starts at 0x1234000"),
        (0x1234000, 0, 65536, "low bits 0x4000 would be lost", "starts at 0x1230000"),
        (0x201000, 9, 4096, "low bits 0x1000 would be lost", "starts at 0x200000"),
        (0, 52, 4096, "reach 2^64", None),
        ((1 << 64) - 0x1000, 0, 4096, "reach 2^64", None),
        (0, 0, 8192, "no kernel has pages of 8192 bytes", "4K, 16K or 64K"),
    ],
)
def test_blocks_without_a_key(phys, order, page_size, says, hint):
    with pytest.raises(UsageError) as raised:
        encode(phys, order, page_size)
    assert says in str(raised.value)
    assert (hint is None) == (raised.value.hint is None)
    assert (hint or "") in (raised.value.hint or "")


def test_the_command_takes_numbers_as_people_write_them():
    facts = json.loads(
        run("key", "--phys", "4G", "--order", 9, "--page-size", "4K", "--format", "json").stdout
    )
    assert facts["schema"] == "khodump.key/1"
    (row,) = facts["keys"]
    assert row["key"] == 0x80000000800
    again = json.loads(run("key", row["key"], "--page-size", "4K", "--format", "json").stdout)
    assert again == facts
