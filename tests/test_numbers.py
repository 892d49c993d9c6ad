from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.errors import UsageError
from khodump.numbers import parse_number, parse_range


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("010", 10), ("0x1b", 0x1B), ("0X1B", 0x1B), ("4K", 4096), ("4k", 4096), ("4KiB", 4096), ("2MB", 2 << 20),
     ("1G", 1 << 30), ("3T", 3 << 40), ("0x10K", 16384), (" 7 ", 7), ("0xffffffffffffffff", (1 << 64) - 1)],
)  # fmt: skip
def test_numbers_as_people_write_them(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-1",
        "1.5G",
        "0x",
        "1P",
        "K",
        "1 2",
        "0x10000000000000000",
        "16777216T",
        "\N{FULLWIDTH DIGIT ONE}",
    ],
)
def test_other_text_is_no_number(text):
    with pytest.raises(UsageError):
        parse_number(text)


@given(st.integers(0, (1 << 64) - 1))
def test_hex_and_decimal_agree(value):
    assert parse_number(str(value)) == parse_number(hex(value)) == value


def test_ranges():
    assert parse_range("0x1000-2M") == (0x1000, 2 << 20)
    for text in ("1", "2-1", "1-1", "-", "1-", "-2", "1-2-3"):
        with pytest.raises(UsageError):
            parse_range(text)
