"""What is dear is worked out once a command, however many of its parts ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import khodump
from khodump import handover
from khodump.opening import candidates, locate
from khodump.opening.locate import read_blob
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


REPORT = ["report", "--output", "report.html"]
#: The root FDT is found by a search, or it is a file.
FDTS: dict[str, list[str | Path]] = {"searched": [], "file": ["--fdt", LUO_MEMFD / "kho-out.dtb"]}


@pytest.mark.parametrize(
    "line",
    [REPORT, ["check"], ["map", "--by", "owner"], ["inspect", "--owners"]],
    ids=lambda line: line[0],
)
def test_the_map_is_walked_and_owners_are_joined_once(line, monkeypatch, tmp_path):
    calls = Calls()
    monkeypatch.setattr(handover, "own", calls.counted("own", own))
    monkeypatch.setattr(RadixTracker, "walk", calls.counted("walk", RadixTracker.walk))
    monkeypatch.chdir(tmp_path)
    assert run(line[0], IMAGE, *line[1:]).status == 0
    assert calls == {"own": 1, "walk": 1}


@pytest.mark.parametrize("fdt", FDTS)
@pytest.mark.parametrize("line", [REPORT, ["check"], ["inspect"]], ids=lambda line: line[0])
def test_the_tracker_that_was_weighed_is_kept(line, fdt, monkeypatch, tmp_path):
    calls = Calls()
    monkeypatch.setattr(RadixTracker, "__init__", calls.counted("tracker", RadixTracker.__init__))
    monkeypatch.chdir(tmp_path)
    assert run(line[0], IMAGE, *line[1:], *FDTS[fdt]).status == 0
    assert calls == {"tracker": 1}


@pytest.mark.parametrize(
    "image", [IMAGE, LUO_MEMFD / "serialized.kdump-zlib"], ids=lambda image: image.suffix
)
def test_a_page_that_looks_like_an_fdt_is_read_once(image, monkeypatch):
    read: Counter[int] = Counter()

    def counted(memory, phys, *size):
        read[phys] += 1
        return read_blob(memory, phys, *size)

    for module in (locate, candidates):
        monkeypatch.setattr(module, "read_blob", counted)
    with khodump.open(image) as opened:
        assert opened.fdt.phys in read
    assert set(read.values()) == {1}


@pytest.mark.parametrize("fdt", FDTS)
@pytest.mark.parametrize("line", [REPORT, ["check"], ["sessions"]], ids=lambda line: line[0])
def test_the_list_of_a_memfd_is_read_once(line, fdt, monkeypatch, tmp_path):
    read: Counter[tuple[int, int]] = Counter()
    batches = VmallocArea.batches

    def counted(area, limit):
        read[area.at, area.descriptor.first] += 1
        return batches(area, limit)

    monkeypatch.setattr(VmallocArea, "batches", counted)
    monkeypatch.chdir(tmp_path)
    assert run(line[0], IMAGE, *line[1:], *FDTS[fdt]).status == 0
    assert len(read) > 100
    assert set(read.values()) == {1}
