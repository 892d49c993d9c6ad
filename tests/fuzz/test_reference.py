from __future__ import annotations

from tests.fuzz.reference import LEVEL, NAMES, campaign, targets
from tests.fuzz.run import tasks
from tests.fuzz.targets import Target


def test_an_input_is_a_number_that_makes_it_again(tmp_path):
    seen: list[bytes] = []
    tally = campaign(Target("toy", seen.append, list), 2, 5, lambda done: done < 2, tmp_path)
    assert seen == [b"2000000005", b"2000000006"]
    assert (tally.level, tally.first, tally.inputs, tally.bad) == (LEVEL, 5, 2, 0)


def test_a_disagreement_is_a_wrong_answer_and_is_kept(tmp_path):
    def check(data: bytes) -> None:
        assert data.endswith(b"0"), "khodump says otherwise"

    tally = campaign(Target("toy", check, list), 1, 0, lambda done: done < 2, tmp_path)
    assert (tally.wrong, tally.crashes) == (1, 0)
    assert "khodump says otherwise" in tally.failures[0]
    assert len(list(tmp_path.iterdir())) == 2


def test_mutants_of_one_handover_share_its_files():
    with targets() as known:
        assert set(known) == set(NAMES)
        known["mutants"].check(b"%d" % (16 * 77))
        known["mutants"].check(b"%d" % (16 * 77 + 1))


def test_a_campaign_runs_both():
    planned = list(tasks([], 1, 100.0, [], [LEVEL]))
    assert {task.target for task in planned} == set(NAMES)
    assert [task.target for task in tasks([], 1, 100.0, ["mutants"], [LEVEL])] == ["mutants"]
