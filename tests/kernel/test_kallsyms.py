from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.kernel import Kernel, Reason, WhyNot, open_kernel
from khodump.kernel.names import Names, expand
from tests.builders.kernel.kernel import BuiltKernel, handing_over, x86
from tests.builders.kernel.symbols import Encoding, SymbolTables, build_tables
from tests.builders.memory import opened
from tests.kernel.test_opening import refusal


def expanded(tables: SymbolTables, count: int) -> Names | WhyNot:
    index = np.frombuffer(tables.token_index, "<u2").astype(np.int64)
    return expand(tables.names, count, tables.token_table, index)


NAMES = st.text("kho_outinse.019", min_size=1, max_size=40) | st.text("R", min_size=100, max_size=400)


@given(st.lists(NAMES, min_size=1, max_size=30, unique=True))
def test_every_name_is_found_by_its_number(symbols):
    tables = build_tables(dict.fromkeys(symbols, 0), Encoding.PLACE)
    names = expanded(tables, len(symbols))
    assert isinstance(names, Names)
    for number, name in enumerate(symbols):
        assert names.numbers(name) == [number]


@given(st.lists(NAMES, min_size=1, max_size=30, unique=True), NAMES)
def test_no_other_name_is(symbols, other):
    tables = build_tables(dict.fromkeys(symbols, 0), Encoding.PLACE)
    names = expanded(tables, len(symbols))
    assert isinstance(names, Names)
    assert bool(names.numbers(other)) == (other in symbols)


@pytest.mark.parametrize(
    ("symbol", "is_meant"), [("kho_out.llvm.77", True), ("kho_out.llvm.x", False), ("kho_out.7", False)]
)
def test_only_the_compilers_own_suffix_is_taken(symbol, is_meant):
    names = expanded(build_tables({symbol: 0}, Encoding.PLACE), 1)
    assert isinstance(names, Names)
    assert bool(names.numbers("kho_out")) == is_meant


@given(
    st.binary(max_size=300),
    st.integers(0, 300),
    st.binary(min_size=1, max_size=300),
    st.lists(st.integers(0, 65535), min_size=256, max_size=256),
)
def test_tables_of_any_bytes_never_raise(stream, count, table, index):
    expand(stream, count, table, np.array(index, np.int64))


def test_tokens_that_would_blow_up_are_refused():
    """A few bytes of names, each of a token of hundreds."""
    table = b"x" * 500 + bytes(256)
    index = np.concatenate(([0], np.arange(501, 756)))
    stream = (b"\xff\x7f" + b"\0" * 0x3FFF) * 40
    answer = expand(stream, 40, table, index)
    assert isinstance(answer, WhyNot)
    assert "longer than those of any kernel" in answer.message


@pytest.mark.parametrize("entry", [0xFFFF, 1])
@pytest.mark.parametrize("token", range(0, 256, 17))
def test_a_token_that_begins_elsewhere_is_damage_and_no_sign_of_a_kernel_without_kho(token, entry):
    """Past the end of the table, or inside another token: names would be garbled, and not all of them be missed."""
    built, _ = handing_over(x86())
    lines = built.finish()
    built.image.write(table_at(built, lines, "token_index") + 2 * token, entry.to_bytes(2, "little"))
    answer = _answer_of(built, lines)
    assert isinstance(answer, WhyNot)
    assert answer.reason in {
        Reason.DAMAGED,
        Reason.UNREADABLE,
    }  # what is behind the table need not be in the image


@pytest.mark.parametrize("count", [0, 1 << 20, (1 << 32) - 1])
def test_a_number_of_symbols_that_cannot_be_is_refused(count):
    built, _ = handing_over(x86(), num_syms=count)
    assert refusal(built).reason is Reason.DAMAGED


def test_more_symbols_than_names_are_refused():
    built, _ = handing_over(x86())
    built.num_syms = len(built.symbols) + 40
    assert refusal(built).reason is Reason.DAMAGED


def table_at(built: BuiltKernel, lines: dict[str, str], table: str) -> int:
    """Physical address of one of the tables."""
    return built.phys(int(lines[f"SYMBOL(kallsyms_{table})"], 16))


@pytest.mark.parametrize("table", ["names", "num_syms", "token_table", "token_index", "offsets"])
def test_a_table_that_the_image_does_not_hold_is_said(table):
    built, _ = handing_over(x86())
    lines = built.finish()
    built.image.drop(table_at(built, lines, table))
    answer = _answer_of(built, lines)
    assert isinstance(answer, WhyNot)
    assert answer.reason is Reason.UNREADABLE


@pytest.mark.parametrize("filler", [0, 0xFF])
@pytest.mark.parametrize("table", ["names", "token_table", "token_index"])
def test_a_table_that_was_overwritten_is_refused(table, filler):
    built, _ = handing_over(x86())
    lines = built.finish()
    built.image.write(table_at(built, lines, table), bytes([filler]) * 512)
    assert isinstance(_answer_of(built, lines), WhyNot)


def _answer_of(built: BuiltKernel, lines: dict[str, str]) -> Kernel | WhyNot:
    with opened(built.image, machine=built.machine.elf_machine, vmcoreinfo=lines) as memory:
        return open_kernel(memory)
