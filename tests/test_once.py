"""What is dear is worked out once a command, however many of its parts ask for it."""

from __future__ import annotations

from collections import Counter

import pytest

from khodump import handover
from khodump.ownership import own
from khodump.trackers.radix import RadixTracker
from tests.captures import SAMPLES
from tests.transcript import run

IMAGE = SAMPLES / "captures/luo-memfd/serialized.elf"


@pytest.mark.parametrize(
    "line",
    [["report", "--output", "report.html"], ["check"], ["map", "--by", "owner"], ["inspect", "--owners"]],
    ids=lambda line: line[0],
)
def test_the_map_is_walked_and_owners_are_joined_once(line, monkeypatch, tmp_path):
    calls: Counter[str] = Counter()

    def counted(name, function):
        def call(*args):
            calls[name] += 1
            return function(*args)

        return call

    monkeypatch.setattr(handover, "own", counted("own", own))
    monkeypatch.setattr(RadixTracker, "walk", counted("walk", RadixTracker.walk))
    monkeypatch.chdir(tmp_path)
    assert run(line[0], IMAGE, *line[1:]).status == 0
    assert calls == {"own": 1, "walk": 1}
