from __future__ import annotations

import json

from tests.fuzz import reference, report
from tests.fuzz.run import counted_tasks, tasks
from tests.fuzz.targets import Target
from tests.fuzz.worker import ALL, Judge, Tally, campaign
from tests.transcript import ROOT

RUN = {"level": "mutation", "target": "fdt", "seed": 1, "first": 0, "inputs": 1500, "crashes": 0, "hangs": 0}
RUN |= {"wrong": 0, "slowest": 0.012, "memory": 64 << 20, "seconds": 1.0, "failures": []}


def test_the_table_shown_is_that_of_the_log():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    shown = page.partition(report.BEGIN)[2].partition(report.END)[0].strip()
    assert shown == report.table(report.read_log(ROOT / "tests" / "fuzz" / "log.jsonl")).strip()


def test_runs_of_a_target_add_up(tmp_path):
    log, page = tmp_path / "log", tmp_path / "page.md"
    log.write_text(
        "".join(
            json.dumps({**RUN, **more}) + "\n" for more in ({}, {"first": 1500, "slowest": 2.5, "wrong": 1})
        )
    )
    page.write_text(f"before\n{report.BEGIN}old\n{report.END}after\n")
    report.write(log, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| mutation | fdt | 3,000 | 0 | 0 | 1 | 2,500 ms | 64 MiB |" in text
    assert "| **all** | | **3,000** |" in text


def test_a_campaign_goes_on_where_the_last_one_ended():
    planned = list(tasks([RUN, {**RUN, "first": 1500}], 1, 100.0, [], ["mutation"]))
    assert {task.target: task.first for task in planned if task.first} == {"fdt": 3000}
    assert planned[0].target == "commands"
    assert abs(sum(task.seconds for task in planned) - 100) < 1e-6
    assert {task.target for task in planned} == set(ALL)
    assert all(task.first == 0 for task in tasks([RUN], 2, 100.0, [], ["mutation"]))


def test_a_campaign_of_so_many_inputs_has_them_over_all_targets_and_goes_on():
    planned = list(counted_tasks([], 7, 1_000_000, [], ["mutation", "reference"]))
    assert 1_000_000 <= sum(task.most or 0 for task in planned) < 1_000_100
    assert {task.target for task in planned} == {*ALL, *reference.NAMES}
    ran = [
        {**RUN, "seed": 7, "target": task.target, "level": task.level, "inputs": task.most}
        for task in planned
    ]
    assert list(counted_tasks(ran, 7, 1_000_000, [], ["mutation", "reference"])) == []
    (more,) = counted_tasks([*ran[1:], {**ran[0], "inputs": 10}], 7, 1_000_000, [], ["mutation", "reference"])
    assert (more.first, more.most) == (10, (planned[0].most or 0) - 10)


def test_failures_are_told_apart_and_kept(tmp_path):
    def check(data: bytes) -> None:
        if data == b"0":
            raise ValueError("a crash")
        assert data != b"1", "a lie"

    target = Target(
        "toy", check, lambda: [b""], lambda _rng, _data, _all: b"%d" % len(list(tmp_path.glob("*.bin")))
    )
    tally = campaign(target, 1, 1, lambda done: done < 3, tmp_path)
    assert (tally.inputs, tally.crashes, tally.wrong, tally.hangs, tally.bad) == (3, 1, 1, 0, 2)
    assert "a crash" in tally.failures[0]
    assert {path.suffix for path in tmp_path.iterdir()} == {".bin", ".txt"}


def test_an_input_that_takes_too_long_is_a_hang(tmp_path):
    def check(_: bytes) -> None:
        while True:
            pass

    tally = Tally("toy", "mutation", 1, 0)
    judge = Judge(Target("toy", check, lambda: [b""]), tally, tmp_path)
    judge._limit = 0.05
    judge.run(b"", "x")
    assert (tally.hangs, tally.crashes) == (1, 0)
