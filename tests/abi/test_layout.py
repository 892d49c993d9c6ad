from __future__ import annotations

from dataclasses import dataclass

import construct
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.abi.kexec_handover import PAGE_SIZES, kho_radix_leaf, kho_radix_node
from khodump.abi.kexec_metadata import KHO_KEXEC_METADATA, KhoKexecMetadata
from khodump.abi.layout import Layout, dtype_of, u16, u64
from khodump.fdt import FDT_HEADER

SCHEMAS = (FDT_HEADER.schema, KHO_KEXEC_METADATA.schema, kho_radix_node(4096), kho_radix_leaf(4096))


@dataclass(frozen=True)
class Pair:
    first: u16
    second: u64


PAIR = Layout(Pair)


@given(st.integers(0, 0xFFFF), st.integers(0, (1 << 64) - 1), st.binary(max_size=4))
def test_a_record_comes_back_from_its_bytes(first, second, rest):
    data = PAIR.build(Pair(first, second))
    assert len(data) == PAIR.size == 10
    assert PAIR.parse(data + rest) == Pair(first, second)


@pytest.mark.parametrize("size", range(10))
def test_too_few_bytes_are_refused(size):
    with pytest.raises(ValueError, match=f"Pair takes 10 bytes, got {size}"):
        PAIR.parse(bytes(size))


def test_a_field_says_how_it_lies_in_memory():
    @dataclass(frozen=True)
    class Half:
        first: u16
        second: int

    with pytest.raises(TypeError, match=r"Half.second does not say how it lies in memory"):
        _ = Layout(Half).size


def test_metadata_is_packed():
    record = KhoKexecMetadata(1, b"7.3.4".ljust(65, b"\0"), 2)
    data = KHO_KEXEC_METADATA.build(record)
    assert (len(data), data[4:9], data[69:]) == (73, b"7.3.4", b"\2\0\0\0")


@pytest.mark.parametrize("schema", SCHEMAS, ids=["fdt_header", "kexec_metadata", "node", "leaf"])
def test_dtype_reads_what_construct_reads(schema):
    size = schema.sizeof()
    data = np.random.default_rng(0).bytes(size)
    dtype = dtype_of(schema)
    assert dtype.itemsize == size
    (row,) = np.frombuffer(data, dtype)
    parsed = schema.parse(data)
    if dtype.names:
        for name in dtype.names:
            value = parsed[name]
            assert (row[name].tobytes() if isinstance(value, bytes) else int(row[name])) == value
    else:
        assert row.tolist() == list(parsed)


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_dtype_of_a_node_has_a_word_a_slot(page_size):
    assert dtype_of(kho_radix_node(page_size)).shape == (page_size // 8,)
    assert dtype_of(kho_radix_node(page_size)).base == np.dtype("<u8")


def test_dtype_of_nested_structs_and_arrays():
    schema = construct.Struct("pairs" / construct.Array(2, PAIR.schema), "end" / construct.Int32ub)
    (row,) = np.frombuffer(bytes(range(24)), dtype_of(schema))
    parsed = schema.parse(bytes(range(24)))
    assert row["pairs"]["second"].tolist() == [pair.second for pair in parsed.pairs]
    assert int(row["end"]) == parsed.end


def test_dtype_of_a_variable_schema_is_refused():
    with pytest.raises(TypeError, match="no dtype for"):
        dtype_of(construct.GreedyBytes)
