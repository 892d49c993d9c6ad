"""A file looked at in place, and what keeps it from changing meanwhile."""

from __future__ import annotations

import os
from threading import Thread

import numpy as np
import pytest

from khodump.memories import open_memory
from khodump.memories.mapping import mapped
from khodump.opening.locate import Landmark, LandmarkKind, landmarks
from tests.builders.memory import MemoryImage

DATA = np.random.default_rng(1).bytes(3 * 4096 + 100)


@pytest.fixture
def fd(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(DATA)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(("offset", "size"), [(0, len(DATA)), (4096, 4096), (100, 5000), (len(DATA) - 1, 1)])
def test_the_bytes_are_those_of_the_file(fd, offset, size):
    with mapped(fd, offset, size) as view:
        if view is not None:  # not every file system has leases
            assert bytes(view) == DATA[offset : offset + size]


@pytest.mark.parametrize(("offset", "size"), [(0, len(DATA) + 1), (1 << 20, 1), (1 << 62, 1 << 62)])
def test_past_the_end_there_is_nothing(fd, offset, size):
    with mapped(fd, offset, size) as view:
        assert view is None


def test_a_file_open_for_writing_is_not_mapped(fd, tmp_path):
    with (tmp_path / "image").open("r+b"), mapped(fd, 0, 100) as view:
        assert view is None


def test_who_shrinks_the_file_waits(fd, tmp_path):
    shrink = Thread(target=os.truncate, args=(tmp_path / "image", 0))
    with mapped(fd, 0, len(DATA)) as view:
        if view is None:
            pytest.skip("no leases on this file system")
        shrink.start()
        shrink.join(0.1)
        assert shrink.is_alive()
        assert bytes(view) == DATA
    shrink.join(10)
    assert not shrink.is_alive()
    assert os.fstat(fd).st_size == 0


@pytest.mark.parametrize("writable", [False, True], ids=["mapped", "read"])
def test_landmarks_are_the_same_however_the_image_is_read(tmp_path, monkeypatch, writable):
    """Also at the seams of windows and chunks, and in a last page that is cut."""
    monkeypatch.setattr("khodump.opening.locate._WINDOW", 16 * 4096)
    monkeypatch.setattr("khodump.opening.locate._CHUNK", 4 * 4096)
    image = MemoryImage()
    pages = [0, 3, 4, 15, 16, 40]
    for page in pages:
        image.write(page * 4096, b"\xd0\x0d\xfe\xed")
        image.write((page + 1) * 4096 + 0x202, b"HdrS")
    image.write(50 * 4096 + 8, b"\xd0\x0d\xfe\xed")  # not where a page starts
    path = image.to_raw(tmp_path / "image", end=60 * 4096 + 0x204)
    expected = sorted(
        [Landmark(LandmarkKind.FDT, page * 4096) for page in pages]
        + [Landmark(LandmarkKind.BOOT_PARAMS, (page + 1) * 4096) for page in pages],
        key=lambda mark: mark.phys,
    )
    for deep in (False, True):
        with path.open("r+b" if writable else "rb"), open_memory([f"{path}@0"]) as memory:
            found = sorted(landmarks(memory, deep=deep), key=lambda mark: mark.phys)
        assert sorted(found, key=repr) == sorted(expected, key=repr)
