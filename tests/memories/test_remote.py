from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from khodump.errors import ImageError
from khodump.memories import open_memory
from khodump.memories.remote import RemoteFile
from khodump.memory import Presence
from tests.builders.flattened import flatten
from tests.builders.kdump import build_kdump
from tests.builders.lime import build_avml

BLOCK = 1 << 17
NOISE = np.random.default_rng(3).bytes(40 * BLOCK + 5)


@pytest.fixture
def fetched(monkeypatch) -> list[tuple[int, int]]:
    """The (start, end) of all that is asked of fsspec's own memory filesystem from now on."""
    asked: list[tuple[int, int]] = []
    whole = MemoryFileSystem.cat_file

    def counting(self, path, start=None, end=None, **kwargs):
        asked.append((start, end))
        return whole(self, path, start, end, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", counting)
    return asked


def put(data: bytes) -> str:
    MemoryFileSystem().pipe_file("/bucket/dump", data)
    return "memory://bucket/dump"


def test_only_touched_blocks_are_fetched(fetched):
    file = RemoteFile(put(NOISE))
    assert (file.size, fetched) == (len(NOISE), [])
    assert file.read(5 * BLOCK + 7, 20) == NOISE[5 * BLOCK + 7 :][:20]
    assert file.read(5 * BLOCK + 70, 20) == NOISE[5 * BLOCK + 70 :][:20]
    assert fetched == [(5 * BLOCK, 6 * BLOCK)]
    assert file.read(4 * BLOCK, 4 * BLOCK) == NOISE[4 * BLOCK : 8 * BLOCK]
    assert fetched[1:] == [(4 * BLOCK, 5 * BLOCK), (6 * BLOCK, 8 * BLOCK)]
    assert file.read(len(NOISE) - 3, 100) == NOISE[-3:]
    assert fetched[3:] == [(40 * BLOCK, len(NOISE))]
    assert file.read(len(NOISE), 1) == b""


def test_the_cache_is_bounded(fetched, monkeypatch):
    monkeypatch.setattr("khodump.memories.remote._CACHED", 4)
    monkeypatch.setattr("khodump.memories.remote._AT_ONCE", 3)
    file = RemoteFile(put(NOISE))
    assert file.read(0, len(NOISE)) == NOISE
    assert all(end - start <= 3 * BLOCK for start, end in fetched)
    assert len(file._blocks) <= 4


@pytest.mark.parametrize("build", [build_kdump, build_avml, lambda pages: flatten(build_kdump(pages))])
def test_every_format_opens_behind_a_url(fetched, build):
    pages = {at: NOISE[at : at + 4096] for at in (0x1000, 0x5000)}
    with open_memory([put(build(pages))]) as memory:
        assert [memory.read(at, 4096) for at in pages] == list(pages.values())
        assert memory.gather(np.arange(2, dtype=np.uint64) * 4096, 4096).presence.tolist() == [
            Presence.ABSENT,
            Presence.PRESENT,
        ]
    assert fetched


def test_a_raw_object_at_a_base(fetched):
    with open_memory([put(b"\xf0" + NOISE) + "@0x40000000"]) as memory:
        assert memory.read(0x40000001, 10) == NOISE[:10]
    assert fetched == [(0, BLOCK)]


def test_file_urls(tmp_path: Path):
    (tmp_path / "raw").write_bytes(b"\xf0" * 4096)
    with open_memory([(tmp_path / "raw").as_uri()]) as memory:
        assert memory.read(0, 4096) == b"\xf0" * 4096


@pytest.mark.parametrize("url", ["memory://nothing/there", "nosuchscheme://x/y", "file:///no/such/file"])
def test_what_cannot_be_opened(url):
    with pytest.raises(ImageError, match="cannot open " + url):
        open_memory([url])


def test_a_failing_read_is_an_image_error(fetched, monkeypatch):
    file = RemoteFile(put(NOISE))

    def fail(*_: object, **__: object) -> bytes:
        raise TimeoutError

    monkeypatch.setattr(MemoryFileSystem, "cat_file", fail)
    with pytest.raises(
        ImageError, match="cannot read bytes 0x0 to 0x20000 of memory://bucket/dump: TimeoutError"
    ):
        file.read(0, 1)
    assert fetched == []


def test_fsspec_missing_names_the_extra(monkeypatch):
    def no_module(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("khodump.extras.import_module", no_module)
    with pytest.raises(ImageError, match="needs the Python module fsspec") as caught:
        open_memory(["s3://bucket/dump"])
    assert caught.value.hint == "pip install 'khodump[remote]'"
