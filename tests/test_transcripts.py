"""tests/golden/*.txt hold: `UPDATE_TRANSCRIPTS=1 pytest tests/test_transcripts.py` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.transcript import ROOT, replay

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.txt"))


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_transcript_holds(path):
    recorded = path.read_text(encoding="utf-8")
    now = replay(recorded)
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        path.write_text(now, encoding="utf-8")
    assert now == recorded


def test_there_are_transcripts():
    assert len(GOLDEN) >= 4
