"""What is made of several files, and what every format has to say alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from khodump.errors import KhodumpError, UsageError
from khodump.memories import open_memory
from khodump.memories.formats import FORMATS, supported
from khodump.memory import Hole, Presence
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.flattened import flatten
from tests.builders.kdump import FLAGS, build_kdump, split_kdump
from tests.builders.lime import build_avml, build_lime

A, NOISE = b"A" * 4096, np.random.default_rng(4).bytes(4096)
PAGES = {0x1000: A, 0x2000: bytes(4096), 0x5000: NOISE, 0x6000: A}
EXCLUDED = 0x3000


def elf(pages: dict[int, bytes]) -> bytes:
    segments = [ElfSegment(at, data, 8192 if at + 4096 == EXCLUDED else None) for at, data in pages.items()]
    return build_elf(segments)


def kdump(pages: dict[int, bytes], codec: str = "zlib") -> bytes:
    return build_kdump(pages, excluded=[EXCLUDED], codec=codec)


#: Those that know of excluded pages, and those that do not.
FILTERED: dict[str, Callable[[dict[int, bytes]], bytes]] = {
    "elf": elf,
    "flattened elf": lambda pages: flatten(elf(pages), record=1000),
    "flattened kdump": lambda pages: flatten(kdump(pages), record=1000),
    **{f"kdump {codec}": partial(kdump, codec=codec) for codec in FLAGS},
}
PLAIN: dict[str, Callable[[dict[int, bytes]], bytes]] = {"lime": build_lime, "avml": build_avml}


@pytest.mark.parametrize("name", [*FILTERED, *PLAIN])
def test_one_memory_in_every_format(tmp_path: Path, name):
    (tmp_path / "dump").write_bytes({**FILTERED, **PLAIN}[name](PAGES))
    left_out = Presence.EXCLUDED if name in FILTERED else Presence.ABSENT
    with open_memory([tmp_path / "dump"]) as memory:
        got = memory.gather(np.arange(8, dtype=np.uint64) * 4096, 4096)
        wanted = dict.fromkeys(range(8), Presence.ABSENT) | {3: left_out}
        wanted |= dict.fromkeys((at >> 12 for at in PAGES), Presence.PRESENT)
        assert got.presence.tolist() == list(wanted.values())
        assert all(got.data[at >> 12].tobytes() == data for at, data in PAGES.items())
        assert memory.read(0x5800, 0x1000) == NOISE[0x800:] + A[:0x800]
        assert memory.read(0x2001, 0x1000) == Hole(0x3000, left_out)
        spoken_of = [(r.start, r.end) for r in memory.ranges if r.presence is Presence.PRESENT]
        assert spoken_of == [(0x1000, 0x3000), (0x5000, 0x7000)]
        assert memory.warnings == ()


@pytest.mark.parametrize("name", [*FILTERED, *PLAIN])
def test_every_length_of_every_format_is_refused_or_truncated(tmp_path: Path, name):
    """However short the copy, no byte of memory is made up."""
    dump = {**FILTERED, **PLAIN}[name](PAGES)
    for size in range(1, len(dump), 397):
        (tmp_path / "dump").write_bytes(dump[:size])
        try:
            memory = open_memory([tmp_path / "dump"])
        except KhodumpError:
            continue
        with memory:
            for at, data in PAGES.items():
                found = memory.read(at, 4096)
                if isinstance(found, Hole):
                    assert found.presence in (Presence.TRUNCATED, Presence.ABSENT)
                else:
                    assert found == data


def test_kdump_does_not_mix(tmp_path):
    left, right = split_kdump(PAGES, [3])
    files = {"left": left, "right": flatten(right), "raw": b"\xf0" * 4096, "whole": kdump(PAGES)}
    for name, dump in files.items():
        (tmp_path / name).write_bytes(dump)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(UsageError, match="raw is no kdump-compressed dump"):
        open_memory([tmp_path / "left", tmp_path / "raw"])
    with pytest.raises(UsageError, match="not parts of one split dump"):
        open_memory([tmp_path / "left", tmp_path / "whole"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with open_memory([tmp_path / "left", tmp_path / "right"]) as memory:
        assert memory.read(0x5000, 4096) == NOISE
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_supported_lists_every_format_and_what_it_takes():
    rows = {row.name: row for row in supported()}
    assert len(rows) == len(supported())
    assert all(any(known.name in name for name in rows) for known in FORMATS)
    assert rows["kdump-compressed"].is_installed
    assert rows["kdump-compressed [lzo]"].extra == "kdump"
    assert rows["any of these behind a URL [fsspec]"].extra == "remote"
    assert not rows["gzip-compressed"].is_read
    assert rows["gzip-compressed"].hint == "unpack it: gzip -dc FILE > IMAGE"


def test_supported_tells_what_to_install(monkeypatch):
    monkeypatch.setattr("khodump.extras.find_spec", lambda _: None)
    row = next(row for row in supported() if row.name == "kdump-compressed [zstd]")
    assert (row.is_read, row.is_installed, row.hint) == (True, False, "pip install 'khodump[kdump]'")
