"""Sessions, files, regions and releases as the reference reads them."""

from __future__ import annotations

from typing import Any

from .case import Case
from .command import tell, tell_well

Row = tuple[Any, ...]


def hold(case: Case) -> None:
    if case.answer.luo:
        sessions(case)
    told = tell_well("subtrees", case.elf, "-q", "-f", "json").json["values"]
    values = {(row["node"], row["what"]): row["value"] for row in told}
    if case.answer.metadata:
        assert values["kexec-metadata", "release"] == case.answer.metadata.release
        assert values["kexec-metadata", "kexec count"] == str(case.answer.metadata.kexec_count)
    for region in case.answer.regions:
        assert values["memblock", f'region "{region.name}"'] == _span(region.start, region.size)
    names = {child.name for child in case.answer.root.children}
    assert {row["node"] for row in told} == names | {"/"}


def _span(start: int, size: int) -> str:
    return f"{start:#x}..{start + size:#x}"


def sessions(case: Case) -> None:
    """Every session in LUO's order, every file with its numbers, and every FLB."""
    luo = case.answer.luo
    assert luo
    told = tell("sessions", case.elf, "-q", "-f", "json")
    said = told.json
    assert said["LUO"] == luo.version
    assert said["live_update_number"] == luo.number
    assert said["sessions"] == len(luo.sessions), told.stderr
    flbs = [(row["flb"], row["data"], row["count"]) for row in said.get("flbs", [])]
    assert flbs == [(flb.name, flb.data, flb.count) for flb in luo.flbs]
    names = ("session", "token", "handler", "size", "position", "folios", "data", "first")
    assert [tuple(row[name] for name in names) for row in said["files"]] == expected(case)


def expected(case: Case) -> list[Row]:
    """What `sessions` is to list: a row a file, and one a session without files."""
    rows: list[Row] = []
    luo = case.answer.luo
    for session in luo.sessions if luo else []:
        if not session.files:
            rows.append((session.name, *[None] * 7))
        for file in session.files:
            head = (session.name, file.token, file.handler)
            memfd = file.memfd
            if memfd is None:
                rows.append((*head, None, None, None, file.data, None))
                continue
            first = min((folio.phys for folio in memfd.folios), default=None)
            rows.append((*head, memfd.size, memfd.position, memfd.count, file.data, first))
    return rows
