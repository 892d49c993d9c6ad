"""Dumps that end early, or say that they do, warn; dumps that do not, do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from khodump.memories import kdump_end, open_memory
from khodump.memories.kdump_header import PAGE_DESCRIPTOR, PageDescriptor
from khodump.memory import Presence, Range
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.flattened import flat_stream
from tests.builders.kdump import FLAGS, build_kdump, split_kdump

PAGE = 4096
TABLE = 4 * PAGE  # headers and bitmaps take a block each
PAGES = {at * PAGE: os.urandom(PAGE) for at in range(6)}


def warnings_of(home: Path, *dumps: bytes) -> tuple[str, ...]:
    paths = [home / f"dump{number}" for number in range(len(dumps))]
    for path, dump in zip(paths, dumps, strict=True):
        path.write_bytes(dump)
    with open_memory(paths) as memory:
        return tuple(warning.replace(f"{home}/", "") for warning in memory.warnings)


@pytest.mark.parametrize("codec", sorted(FLAGS))
def test_a_whole_kdump_does_not_warn(tmp_path, codec):
    assert warnings_of(tmp_path, build_kdump(PAGES, codec=codec)) == ()
    assert warnings_of(tmp_path, *split_kdump(PAGES, [2, 4], codec=codec)) == ()


@pytest.mark.parametrize("codec", sorted(FLAGS))
def test_a_kdump_that_lacks_a_byte_warns(tmp_path, codec):
    told = "dump0 is cut short: its last page would take 1 more bytes"
    assert warnings_of(tmp_path, build_kdump(PAGES, codec=codec)[:-1]) == (told,)


def test_a_kdump_that_ends_among_its_descriptors_warns(tmp_path):
    cut = build_kdump(PAGES)[: TABLE + 2 * PAGE_DESCRIPTOR.size + 1]
    told = "dump0 is cut short: it should describe 6 pages, and ends after the first 2 of them"
    assert warnings_of(tmp_path, cut) == (told,)
    with open_memory([tmp_path / "dump0"]) as memory:
        assert memory.ranges[-1].presence is Presence.TRUNCATED


def test_each_part_of_a_split_dump_warns_for_itself(tmp_path):
    whole, cut = split_kdump(PAGES, [3], codec="raw")
    assert warnings_of(tmp_path, whole, cut[:-9]) == (
        "dump1 is cut short: its last page would take 9 more bytes",
    )


def test_a_writer_that_was_killed_is_told_from_one_that_ran_out_of_room(tmp_path):
    killed = build_kdump(PAGES, unwritten=[5 * PAGE])
    assert warnings_of(tmp_path, killed) == (
        "dump0 was never finished: it describes pages that were not written",
    )
    (full,) = warnings_of(tmp_path, build_kdump(PAGES, unwritten=[5 * PAGE], status=0x8))
    assert "says that it is incomplete" in full


def test_pages_of_zeros_at_the_end_do_not_hide_it(tmp_path, monkeypatch):
    """They share one descriptor's bytes, at the front."""
    monkeypatch.setattr(kdump_end, "_AT_ONCE", 1)
    dump = bytearray(build_kdump(PAGES, codec="raw"))
    zeros = PAGE_DESCRIPTOR.build(PageDescriptor(TABLE + 6 * PAGE_DESCRIPTOR.size, PAGE, 0, 0))
    for row in (0, 4, 5):
        at = TABLE + row * PAGE_DESCRIPTOR.size
        dump[at : at + len(zeros)] = zeros
    del dump[-2 * PAGE :]
    assert warnings_of(tmp_path, bytes(dump)) == ()
    monkeypatch.setattr(kdump_end, "_AT_ONCE", 3)
    assert warnings_of(tmp_path, bytes(dump[:-7])) == (
        "dump0 is cut short: its last page would take 7 more bytes",
    )


def test_a_damaged_descriptor_is_no_end(tmp_path):
    dump = bytearray(build_kdump(PAGES))
    at = TABLE + 5 * PAGE_DESCRIPTOR.size
    for offset, size in ((1 << 50, 9), ((1 << 64) - 1, 9), (9000, 1 << 31)):
        dump[at : at + PAGE_DESCRIPTOR.size] = PAGE_DESCRIPTOR.build(PageDescriptor(offset, size, 0, 0))
        assert warnings_of(tmp_path, bytes(dump)) == ()


def test_an_elf_core_warns(tmp_path):
    core = build_elf([ElfSegment(0x1000, b"a" * PAGE), ElfSegment(0x8000, b"b" * PAGE, 3 * PAGE)])
    assert warnings_of(tmp_path, core) == ()
    (told,) = warnings_of(tmp_path, core[:-10])
    assert told == (
        "dump0 is cut short: 10 bytes of its segments, the lowest at physical address 0x8ff6, should be behind its end"
    )
    (told,) = warnings_of(tmp_path, build_elf([ElfSegment(0x1000, b"a" * PAGE)], flags=1))
    assert told == "dump0 says that it is incomplete: its writer ran out of room, and pages are missing"


def test_a_raw_file_that_ends_inside_a_page_warns(tmp_path):
    assert warnings_of(tmp_path, b"\xf0" * 2 * PAGE) == ()
    (told,) = warnings_of(tmp_path, b"\xf0" * (2 * PAGE - 1))
    assert "dump0 ends inside a page, after 8191 bytes: it may be cut short" in told


def test_what_lies_between_the_records_of_a_stream_that_was_cut_is_lacking(tmp_path):
    core = build_elf([ElfSegment(0x10_0000, b"a" * 64 * PAGE)])
    head = len(core) - 64 * PAGE
    records = [(0, core[: head + PAGE]), (head + 40 * PAGE, core[head + 40 * PAGE :])]
    for ends, lacks in ((True, []), (False, [Range(0x10_1000, 0x12_8000, Presence.TRUNCATED)])):
        path = tmp_path / "flat"
        path.write_bytes(flat_stream(records, end=ends))
        with open_memory([path]) as memory:
            assert list(memory.lacking()) == lacks
