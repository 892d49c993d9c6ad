"""Integers by the column, against the same integers one by one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.output.formats import Format
from khodump.output.write import write
from khodump.rows import Column, Head, Kind, Result, Rows, Tail

EDGES = [0, 1, 9, 10, 15, 16, 99, 100, 255, 256, 9999, 10000, 65535, 65536, 10**19, (1 << 64) - 1]
KINDS = st.sampled_from([Kind.ADDRESS, Kind.COUNT, Kind.SIZE])


@st.composite
def tables(draw):
    """Kinds and columns of equal length: alike, near each other, or of all lengths."""
    length = draw(st.integers(0, 20))
    columns = []
    for kind in draw(st.lists(KINDS, min_size=1, max_size=4)):
        dtype = draw(st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64]))
        top = int(np.iinfo(dtype).max)
        low = draw(st.integers(0, top))
        near = st.integers(low, min(low + draw(st.sampled_from([0, 5, 1 << 12, 1 << 30])), top))
        number = draw(st.sampled_from([near, st.sampled_from([edge for edge in EDGES if edge <= top])]))
        columns.append((kind, np.array(draw(st.lists(number, min_size=length, max_size=length)), dtype)))
    return columns


def written(kinds, blocks, format_: Format) -> str:
    columns = tuple(Column(f"c{index}", kind) for index, kind in enumerate(kinds))
    result = Result("khodump.test/1", lambda: Head(()), Rows("rows", columns, blocks), lambda: Tail("done"))
    stream = io.StringIO()
    write(result, format_, stream)
    return stream.getvalue()


@pytest.mark.parametrize("format_", [Format.CSV, Format.TSV])
def test_columns_are_written_as_single_values_are(format_):
    @given(tables(), tables())
    def check(table, other):
        for made in (table, other):
            kinds = [kind for kind, _ in made]
            arrays = [values for _, values in made]
            lists = [values.tolist() for values in arrays]
            assert written(kinds, [arrays, arrays], format_) == written(kinds, [lists, lists], format_)

    check()


@pytest.mark.parametrize("format_", [Format.CSV, Format.TSV])
def test_every_length_of_number(format_):
    numbers = [*EDGES, *(10**digits - 1 for digits in range(20)), *(16**digits - 1 for digits in range(17))]
    arrays = [np.array(numbers, np.uint64), np.array(numbers[::-1], np.uint64)]
    kinds = [Kind.ADDRESS, Kind.SIZE]
    lists = [values.tolist() for values in arrays]
    assert written(kinds, [arrays], format_) == written(kinds, [lists], format_)


@pytest.mark.parametrize("format_", [Format.CSV, Format.TSV])
def test_other_columns_beside_integers(format_):
    number, text = np.array([1, 20], np.uint64), ["a", None]
    truth = np.array([True, False])
    assert (
        written([Kind.ADDRESS, Kind.TEXT], [(number, text)], format_).split()
        == written([Kind.ADDRESS, Kind.TEXT], [(number.tolist(), text)], format_).split()
    )
    assert "yes" in written([Kind.COUNT, Kind.TRUTH], [(number, truth)], format_)
    assert "-1" in written([Kind.COUNT], [(np.array([-1]),)], format_)
