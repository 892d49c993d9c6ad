"""docs/fleet.md: its queries over a hundred dumps answer what it shows (`UPDATE_DOCS=1 pytest tests/test_fleet.py`)."""

from __future__ import annotations

import os
import re

import pytest

from tests.builders.handover import Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd
from tests.builders.samples import lost_folio
from tests.builders.users import Memblock, ReserveMem, User
from tests.transcript import ROOT, run

duckdb = pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

PAGE = ROOT / "docs" / "fleet.md"
QUERY = re.compile(r"```sql\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
HOSTS = 100
LOSER = 41  #: lost one folio


def machine(host: int) -> Description:
    """A machine with a few guests, each of as many 2 MiB folios as its number has it."""
    guests = [
        Session(
            f"vm-{host}-{n}", (LuoFile(1, Memfd(tuple(Folio(i * 512, b"", 9) for i in range(n + host % 7)))),)
        )
        for n in range(1, 3)
    ]
    users: dict[str, bytes | User] = {"LUO": Luo(tuple(guests), liveupdate_number=host % 3 + 1)}
    if host % 10 == 0:
        users["memblock"] = Memblock((ReserveMem("trace", 0x4000_0000, 8 << 20),))
    return Description(subtrees=users, kexec_count=host % 3 + 1, release="7.3.4" if host % 4 else "7.3.2")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """The directory that the page's shell loop makes."""
    home = tmp_path_factory.mktemp("crash")
    (home / "owners").mkdir()
    (home / "inspect").mkdir()
    for host in range(HOSTS):
        built = lost_folio() if host == LOSER else build_handover(machine(host))
        image = built.image.to_elf(home / "vmcore")
        for command in ("owners", "inspect"):
            rows = home / command / f"host-{host:03}.parquet"
            assert run(command, image, "-q", "--format", "parquet", "--output", rows).status == 0
    return home


def answer(query: str) -> str:
    """What `duckdb -list` prints."""
    rows = duckdb.sql(query)
    lines = ["|".join(rows.columns), *("|".join(str(cell) for cell in row) for row in rows.fetchall())]
    return "".join(f"{line}\n" for line in lines)


def test_the_queries_answer_what_is_shown(fleet, monkeypatch):
    monkeypatch.chdir(fleet)
    text = PAGE.read_text(encoding="utf-8")
    now, count = QUERY.subn(lambda found: f"```sql\n{found[1]}```\n\n```text\n{answer(found[1])}```", text)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(now, encoding="utf-8")
    assert count >= 3
    assert now == text
