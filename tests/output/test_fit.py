from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from khodump.output.fit import fitted, shortened, wrapped

COLUMNS = st.lists(st.tuples(st.integers(1, 200), st.none() | st.integers(1, 20)), min_size=1, max_size=8)


@given(COLUMNS, st.integers(1, 400))
def test_columns_fit_where_that_can_be(columns, room):
    widths = [max(width, least or 0) for width, least in columns]
    least = [least for _, least in columns]
    fit = fitted(widths, least, room)
    assert all(now == width for now, width, floor in zip(fit, widths, least, strict=True) if floor is None)
    assert all(
        now >= min(width, floor) for now, width, floor in zip(fit, widths, least, strict=True) if floor
    )
    if sum(fit) > room:  # nothing can give way any more
        soft = [(now, width, floor) for now, width, floor in zip(fit, widths, least, strict=True) if floor]
        assert all(now <= max(8, floor) for now, width, floor in soft)


@given(st.text(alphabet="ab 0x12/", max_size=50), st.integers(3, 60))
def test_shortened_text_keeps_both_ends_and_whole_numbers(text, width):
    short = shortened(text, width)
    assert len(short) <= width
    if short != text:
        head, tail = short.split("…")
        assert text.startswith(head)
        assert text.endswith(tail)
        words = [word for word in re.split("[^0-9a-z]", text) if re.search("[0-9]", word)]
        assert all(word in words for word in re.split("[^0-9a-z]", short) if re.search("[0-9]", word))


def test_a_path_loses_its_middle():
    owner = 'LUO/session "vm-alpha"/file 0xdeadbeefcafe0003 (memfd)/folios'
    assert shortened(owner, 40) == 'LUO/session "vm-alp… (memfd)/folios'
    assert shortened(owner, 61) == owner


@given(st.text(alphabet="ab -_/", max_size=80), st.integers(1, 40))
def test_wrapped_text_loses_no_word(text, width):
    lines = wrapped(text, width)
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= max(width, 8) or " " not in line.strip() for line in lines)
