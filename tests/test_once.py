"""What is dear is worked out once a command, however many of its parts ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from khodump import handover
from khodump.ownership import own
from khodump.subtrees.vmalloc import VmallocArea
from khodump.trackers.radix import RadixTracker
from tests.captures import SAMPLES
from tests.transcript import run

LUO_MEMFD = SAMPLES / "captures/luo-memfd"
IMAGE = LUO_MEMFD / "serialized.elf"


class Calls(Counter[str]):
    """How often something was called."""

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, which is counted under that name."""

        def call(*args: Any, **named: Any) -> Any:
            self[name] += 1
            return function(*args, **named)

        return call


@pytest.mark.parametrize(
    "line",
    [["report", "--output", "report.html"], ["check"], ["map", "--by", "owner"], ["inspect", "--owners"]],
    ids=lambda line: line[0],
)
def test_the_map_is_walked_and_owners_are_joined_once(line, monkeypatch, tmp_path):
    calls = Calls()
    monkeypatch.setattr(handover, "own", calls.counted("own", own))
    monkeypatch.setattr(RadixTracker, "walk", calls.counted("walk", RadixTracker.walk))
    monkeypatch.chdir(tmp_path)
    assert run(line[0], IMAGE, *line[1:]).status == 0
    assert calls == {"own": 1, "walk": 1}


@pytest.mark.parametrize(
    "line", [["report", "--output", "report.html"], ["check"], ["sessions"]], ids=lambda line: line[0]
)
def test_the_list_of_a_memfd_is_read_once(line, monkeypatch, tmp_path):
    read: Counter[tuple[int, int]] = Counter()
    batches = VmallocArea.batches

    def counted(area, limit):
        read[area.at, area.descriptor.first] += 1
        return batches(area, limit)

    monkeypatch.setattr(VmallocArea, "batches", counted)
    monkeypatch.chdir(tmp_path)
    assert run(line[0], IMAGE, *line[1:]).status == 0
    assert len(read) > 100
    assert set(read.values()) == {1}
