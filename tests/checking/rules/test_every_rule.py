"""Each rule of `check` fires alone on an image that breaks it, and not on one that differs in a bit or a field."""

from __future__ import annotations

import pytest

from khodump.checking import log
from khodump.checking.checkup import Checkup
from khodump.checking.rule import Effect
from khodump.checking.rules import RULES
from khodump.findings import Severity
from tests.checking.rules import blobs, chain, claims, fdt, living, luo, map, memfd, scratch  # noqa: A004, F401 - they fill BREAKS
from tests.checking.rules.breaking import BREAKS

GRAVE = [Severity.ERROR, Severity.WARNING, Severity.INFO]
BY_NAME = {rule.name: rule for rule in RULES}
#: Lines of machines and kernels that no image here is of.
ELSEWHERE = {log.FAULT_ARM64, log.LUO_FDT_INCOMPATIBLE}
CASES = [pytest.param(name, build, id=f"{name}: {build.__name__}") for name, build in BREAKS]


def fired(checkup: Checkup) -> list[str]:
    return [diagnosis.finding.rule for diagnosis in checkup.diagnoses]


def test_the_table_is_covered():
    assert [rule.name for rule in RULES if rule.name not in dict(BREAKS)] == []
    assert len(BY_NAME) == len(RULES)


@pytest.mark.parametrize(("name", "build"), CASES)
def test_it_fires_alone(name, build, tmp_path):
    broken = build()
    checkup = broken.examined(tmp_path, broken=True)
    assert [rule for rule in fired(checkup) if rule not in broken.also] == [name]
    assert {
        diagnosis.finding.severity for diagnosis in checkup.diagnoses if diagnosis.finding.rule != name
    } <= {Severity.INFO}
    (diagnosis,) = (diagnosis for diagnosis in checkup.diagnoses if diagnosis.finding.rule == name)
    finding, outcome = diagnosis.finding, diagnosis.outcome
    assert GRAVE.index(finding.severity) >= GRAVE.index(BY_NAME[name].severity)
    assert (str(finding.owner), finding.phys) == (str(broken.owner), broken.phys)
    assert (outcome.effect, tuple(str(line) for line in outcome.log)) == (broken.effect, broken.log)
    assert broken.then in outcome.text
    assert finding.message
    if outcome.effect is Effect.NONE:
        against = "nothing was found" if finding.severity is Severity.INFO else "costs nothing"
        assert against in checkup.verdict or name == "stale-incoming"
    else:
        assert "nothing was found" not in checkup.verdict


@pytest.mark.parametrize(("name", "build"), CASES)
def test_it_does_not_fire_next_to_that(name, build, tmp_path):
    broken = build()
    checkup = broken.examined(tmp_path, broken=False)
    assert set(fired(checkup)) <= set(broken.before)
    assert name not in fired(checkup)
    assert checkup.reaches(Severity.WARNING) is False


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_it_logs_is_what_the_table_promises(rule, tmp_path):
    """Each line of the table is printed for one of the images that break the rule, or is another machine's or kernel's."""
    builds = [build for name, build in BREAKS if name == rule.name]
    printed = set()
    for number, build in enumerate(builds):
        directory = tmp_path / str(number)
        directory.mkdir()
        for diagnosis in build().examined(directory, broken=True).diagnoses:
            if diagnosis.finding.rule == rule.name:
                printed |= {line.line for line in diagnosis.outcome.log}
    if rule.name == "chain-too-long":  # printed of lists of more than 20,000 blocks alone
        printed.add(log.BLOCK_SET_CORRUPTED)
    assert set(rule.log) - printed <= ELSEWHERE
