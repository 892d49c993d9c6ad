"""Scratch regions as debugfs lists them."""

from __future__ import annotations

import json
import re

import pytest

import khodump
from khodump.abi.kexec_handover import KhoScratch
from khodump.errors import ImageError, UsageError
from khodump.opening.scratch import read_files
from tests.captures import CAPTURES, SAMPLES
from tests.transcript import run

HOME = SAMPLES / "captures" / "luo-memfd"
PHYS, LEN = HOME / "scratch_phys", HOME / "scratch_len"
REGIONS = (
    KhoScratch(0x7D40_0000, 0x100_0000),
    KhoScratch(0x7540_0000, 0x800_0000),
    KhoScratch(0x3AC0_0000, 0x400_0000),
    KhoScratch(0x7140_0000, 0x400_0000),
)


@pytest.mark.parametrize("files", [(PHYS, LEN), (LEN, PHYS), (HOME,), (str(PHYS), str(LEN))])
def test_both_files_in_any_order_or_their_directory(files):
    assert read_files(files) == REGIONS


def test_other_names_come_as_addresses_and_lengths(tmp_path):
    for name, source in (("a", PHYS), ("b", LEN)):
        (tmp_path / name).write_bytes(source.read_bytes())
    assert read_files([tmp_path / "a", tmp_path / "b"]) == REGIONS


def test_a_region_of_no_length_is_one(tmp_path):
    (tmp_path / "scratch_phys").write_text("0x1000\n0x2000\n")
    (tmp_path / "scratch_len").write_text("0x1000\n0x0\n")
    assert read_files([tmp_path]) == (KhoScratch(0x1000, 0x1000), KhoScratch(0x2000, 0))


@pytest.mark.parametrize("files", [(PHYS,), (PHYS, LEN, PHYS)])
def test_one_file_or_three_are_no_pair(files):
    with pytest.raises(UsageError, match="the pair scratch_phys and scratch_len") as caught:
        read_files(files)
    assert "the directory that holds them" in (caught.value.hint or "")


def test_files_of_different_machines_do_not_go_together():
    with pytest.raises(UsageError, match=r"scratch_phys lists 4 scratch regions, .*scratch_len lists 3"):
        read_files([PHYS, SAMPLES / "captures" / "kho-test" / "scratch_len"])


@pytest.mark.parametrize("text", [b"0x1000\nlots\n", b"\xff\xfe", b"0x10000000000000000\n", b"-4096\n"])
def test_garbage_is_refused_by_the_name_of_its_file(tmp_path, text):
    (tmp_path / "scratch_phys").write_bytes(text)
    (tmp_path / "scratch_len").write_bytes(text)
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / "scratch_"))):
        read_files([tmp_path])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ImageError, match=r"cannot read .*scratch_phys: No such file"):
        read_files([tmp_path])


def test_given_files_show_in_the_header_whatever_is_opened():
    capture = CAPTURES["luo-memfd serialized"]
    for fdt in (None, capture.fdt_phys, HOME / "kho-out.dtb"):
        with khodump.open(capture.path, fdt=fdt, scratch=[HOME]) as handover:
            assert handover.scratch == REGIONS
    ran = run("inspect", capture.path, "--scratch", LEN, "--scratch", PHYS, "--format", "json")
    shown = [KhoScratch(row["scratch"], row["size"]) for row in json.loads(ran.stdout)["scratch"]]
    assert tuple(shown) == REGIONS


def test_real_scratch_holds_nothing_preserved():
    """Which is what scratch is for."""
    with khodump.open(CAPTURES["luo-memfd serialized"].path, scratch=[HOME]) as handover:
        assert handover.scratch
        for region in handover.scratch:
            assert not len(handover.preserved.select(start=region.addr, end=region.addr + region.size))
