"""The doubt contract: what decoders and trackers can find is declared, and `check` has a rule for each of it."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from khodump.checking.rules import RULES
from khodump.findings import Finding, Severity
from khodump.problems import PROBLEMS, BlobTooSmall, MapPointerUnaligned, Problem
from tests.transcript import ROOT

BY_NAME = {rule.name: rule for rule in RULES}
NAMES = [problem.name for problem in PROBLEMS]
DECODERS = [
    *sorted((ROOT / "khodump" / "subtrees").glob("*.py")),
    *sorted((ROOT / "khodump" / "trackers").glob("*.py")),
    *sorted((ROOT / "khodump" / "kernel").glob("*.py")),
    *(
        ROOT / "khodump" / name
        for name in ("tracker.py", "opening/scratch.py", "opening/doubt.py", "opening/locate.py")
    ),
]


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES)
    assert "" not in NAMES


def test_the_table_has_all_that_are_declared():
    def below(kind: type[Problem]) -> set[type[Problem]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    declared = {kind for kind in below(Problem) if getattr(kind, "name", "")}
    assert {kind for kind in declared if kind.__module__ == "khodump.problems"} == set(PROBLEMS)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_each_has_a_rule_that_says_the_same(problem):
    rule = BY_NAME[problem.name]
    assert (rule.severity, rule.title) == (problem.severity, problem.title)


def test_what_no_rule_looks_for_a_decoder_finds():
    assert [rule.name for rule in RULES if rule.look is None and rule.name not in NAMES] == []


#: What finds something on behalf of all decoders, or of none.
SHARED = [ROOT / "khodump" / name for name in ("subtree.py", "opening/doubt.py", "handover.py")]


@pytest.mark.parametrize("path", DECODERS, ids=lambda path: str(Path(path).relative_to(ROOT / "khodump")))
def test_decoders_give_declared_problems_alone(path):
    """No finding is made by hand, and none under a name that stands in a string."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        assert called != "Finding", f"{path}:{node.lineno}"
        if called == "problem":
            assert not isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"


def test_every_declared_problem_is_used():
    text = "".join(path.read_text(encoding="utf-8") for path in [*DECODERS, *SHARED])
    assert [problem.__name__ for problem in PROBLEMS if problem.__name__ not in text] == []


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_evidence_comes_back(problem):
    made = problem(**{field.name: number for number, field in enumerate(fields(problem), 1)})
    finding = made.finding(0x1000, "it is wrong", "owner")
    assert (finding.rule, finding.severity, finding.unread) == (
        problem.name,
        problem.severity,
        problem.unread,
    )
    assert problem.of(finding) == made


def test_numbers_that_do_not_apply_are_left_out():
    assert MapPointerUnaligned(5, slot=0).evidence == {"value": 5, "slot": 0}


def test_a_finding_made_by_hand_may_lack_numbers():
    assert BlobTooSmall.of(Finding("blob-too-small", Severity.ERROR, None, "too small", {"value": 1})) is None
