"""Rows as dataclasses: their fields are the columns, of every command whose rows are few."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import pytest

import khodump
from khodump.rows import Address, Column, Kind, Lines, Size, Text, Truth, columns_of, table
from khodump.tables.check import FindingRow, explain, list_rules
from khodump.tables.check import check as findings
from khodump.tables.formats import formats
from khodump.tables.key import decode, encode
from khodump.tables.lookup import lookup
from khodump.tables.owners import owners
from khodump.tables.sessions import FileRow, sessions
from khodump.tables.subtrees import subtrees
from tests.captures import SAMPLES

SOUND = SAMPLES / "captures/luo-memfd/serialized.elf"
DAMAGED = SAMPLES / "synthetic/lost-folio.elf"


@dataclass(frozen=True)
class Sample:
    """One of each kind of field."""

    phys: Address
    block_size: Size | None
    from_: Text
    is_kept: Truth
    odd: Annotated[str | None, Kind.LINES, "an odd name"]
    slots: Lines | None = None


def test_fields_are_columns():
    assert columns_of(Sample) == (
        Column("phys", Kind.ADDRESS),
        Column("block size", Kind.SIZE),
        Column("from", Kind.TEXT),
        Column("is kept", Kind.TRUTH),
        Column("an odd name", Kind.LINES),
        Column("slots", Kind.LINES),
    )


def test_a_table_of_no_rows_has_its_columns_all_the_same():
    made = table("samples", Sample, [], empty="none")
    assert [list(block) for block in made.blocks] == [[[]] * len(fields(Sample))]
    assert (made.columns, made.records, made.empty) == (columns_of(Sample), [], "none")


def results(handover):
    yield lookup(handover, [handover.preserved.phys[0].item(), 1 << 40])
    yield sessions(handover)
    yield owners(handover)
    yield subtrees(handover)
    yield findings(handover, khodump.check(handover))
    yield from (decode(0x80001), encode(0x1000, 0), formats(), list_rules(), explain("unclaimed"))


@pytest.mark.parametrize("path", [SOUND, DAMAGED], ids=lambda path: path.stem)
def test_what_is_written_and_what_callers_take_are_the_same_rows(path):
    with khodump.open(path) as handover:
        for result in results(handover):
            rows = result.rows
            (block,) = rows.blocks
            written = [tuple(row) for row in zip(*block, strict=True)]
            assert written == [
                tuple(getattr(record, field.name) for field in fields(record)) for record in rows.records
            ]
            assert all(len(rows.columns) == len(fields(record)) for record in rows.records)


def test_callers_take_values_by_name():
    with khodump.open(SOUND) as handover:
        files = [row for row in sessions(handover).rows.records if isinstance(row, FileRow)]
        assert {row.token for row in files if row.session == "vm-beta"} >= {0x7}
    with khodump.open(DAMAGED) as handover:
        (row,) = findings(handover, khodump.check(handover)).rows.records
        assert isinstance(row, FindingRow)
        assert (row.rule, row.severity) == ("claim-not-preserved", "error")
