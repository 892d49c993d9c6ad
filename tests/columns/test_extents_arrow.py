"""A preserved map as a pyarrow.Table and as a pandas.DataFrame."""

from __future__ import annotations

import subprocess
import sys

import pytest

import khodump
from khodump.columns.extents import Extents
from khodump.errors import MissingExtraError
from tests.captures import CAPTURES

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pandas")

COLUMNS = ["phys", "order", "count", "size"]


@pytest.fixture(scope="module")
def preserved() -> Extents:
    with khodump.open(CAPTURES["kho-test serialized"].path) as handover:
        return handover.preserved


def test_arrow_has_the_columns_without_copying_them(preserved):
    table = preserved.to_arrow()
    assert table.column_names == COLUMNS
    assert [str(kind) for kind in table.schema.types] == ["uint64", "uint8", "uint64", "uint64"]
    assert table.schema.metadata == {b"khodump.page_size": b"4096"}
    assert table["phys"].to_pylist() == preserved.phys.tolist()
    assert sum(table["size"].to_pylist()) == preserved.total_size
    assert table["phys"].chunk(0).buffers()[1].address == preserved.phys.ctypes.data


def test_pandas_has_the_same_columns(preserved):
    frame = preserved.to_pandas()
    assert list(frame.columns) == COLUMNS
    assert frame["size"].sum() == preserved.total_size
    assert frame["order"].dtype == "uint8"


def test_no_runs_are_tables_without_rows():
    assert Extents.empty(12).to_arrow().num_rows == 0
    assert len(Extents.empty(12).to_pandas()) == 0


@pytest.mark.parametrize(("method", "extra"), [("to_arrow", "arrow"), ("to_pandas", "pandas")])
def test_a_missing_library_names_its_extra(preserved, monkeypatch, method, extra):
    def no_module(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("khodump.extras.import_module", no_module)
    with pytest.raises(MissingExtraError) as caught:
        getattr(preserved, method)()
    assert caught.value.hint == f"pip install 'khodump[{extra}]'"


def test_neither_is_imported_before_it_is_asked_for():
    code = "import khodump.columns.extents, khodump.cli, sys; print({'pyarrow', 'pandas', 'drgn'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
