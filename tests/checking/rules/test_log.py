"""The kernels' lines: each is found by its pattern and by no other, and none is found in the log of a sound handover."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.checking import log
from khodump.checking.log import Errno, LogLine
from khodump.checking.rules import RULES, live
from tests.captures import SAMPLES
from tests.checking.rules import blobs, chain, claims, fdt, luo, map, memfd, scratch  # noqa: A004, F401 - they fill BREAKS
from tests.checking.rules.breaking import BREAKS

LINES = {name: line for name, line in vars(log).items() if isinstance(line, LogLine)}
#: What the successor of the capture fail-compat printed, as samples/README.md has it.
PRINTED = [
    ("FDT_INCOMPATIBLE", "KHO: setup: handover FDT (0x51f000) is incompatible with 'kho-v4': 1"),
    ("DISABLED", "KHO: disabling KHO revival"),
]
#: What consoles of other failures of 7.2.13 and 7.3.4 showed, as notes of those who saw them have it, without what they left
#: out: the time, and where in the function it was.
NOTED = [
    (
        "LUO_PANIC",
        "Kernel panic - not syncing: The incoming tree failed to initialize properly [-22], disabling live update",
    ),
    ("FAULT_X86", "RIP: 0010:__kho_radix_walk_tree+0x"),
]
#: No console showed these: they are the kernel's formats, filled in by hand, with names of errors and without.
FORMATTED = [
    ("FDT_INVALID", "KHO: setup: handover FDT (0x7fe00000) is invalid: -9"),
    ("NO_MAP", "KHO: failed to get preserved memory map"),
    ("NO_BITMAPS", "KHO: failed to get preserved memory bitmaps"),
    ("BROKEN_SUBNODE", "KHO: broken KHO subnode 'LUO': missing or invalid blob-size property"),
    ("LUO_TOO_SMALL", "luo: LUO state is too small (31 < 32)"),
    ("LUO_INCOMPATIBLE", "luo: LUO state is incompatible with 'luo-v5'"),
    ("LUO_FDT_INCOMPATIBLE", "luo: FDT 'LUO' is incompatible with 'luo-v1' [1]"),
    ("BLOCK_SET_CORRUPTED", "luo: Block set is corrupted"),
    ("BLOCK_COUNT", "luo: Block contains invalid entry count: 65"),
    ("FILE_COUNT", "luo: File count mismatch: expected 3, found 1"),
    ("NO_HANDLER", "luo: No registered handler for compatible 'memfd-v3'"),
    ("FILES_FAILED", "luo: Failed to deserialize files for session [vm] -22"),
    ("FILES_FAILED", "luo: Failed to deserialize files for session [vm] -EINVAL"),
    ("SESSION_FAILED", "luo: Failed to insert session [a [b] c] -EEXIST"),
    ("SESSION_FAILED", "luo: Failed to insert session [vm] -17"),
    ("LUO_PANIC", ("Kernel panic - not syncing: The incoming tree failed to initialize properly [-EINVAL], disabling live "
    "update")),
    ("FAULT_ARM64", "pc : __kho_radix_walk_tree+0x74/0x138"),
    ("FAULT_ARM64", "pc : __kho_radix_walk_tree.isra.0+0x74/0x138"),
    ("FAULT_ANY", "RIP: 0010:__kho_radix_walk_tree+0x5c/0x120"),
    ("MEMFD_NO_FOLIO", "memfd_luo: Unable to restore folio at physical address: 104000"),
    ("MEMFD_SEALS", "memfd_luo: failed to add seals: -95"),
    ("MEMFD_SEALS", "memfd_luo: failed to add seals: -EOPNOTSUPP"),
    ("MEMFD_PAGE_CACHE", "memfd_luo: shmem: failed to add to page cache folio index 2: -EEXIST"),
    ("TEST_FAILED", "test_kho: KHO restore failed"),
]  # fmt: skip
EVERY = [*PRINTED, *NOTED, *FORMATTED]
#: The kernel's formats, as the sources of 7.3.4 have them (NO_BITMAPS: 6.16 to 7.0; LUO_FDT_INCOMPATIBLE: 6.19 to 7.1).
FORMATS = {
    "FDT_INVALID": "setup: handover FDT (0x%llx) is invalid: %d",
    "FDT_INCOMPATIBLE": "setup: handover FDT (0x%llx) is incompatible with '%s': %d",
    "DISABLED": "disabling KHO revival",
    "NO_MAP": "failed to get preserved memory map",
    "NO_BITMAPS": "failed to get preserved memory bitmaps",
    "BROKEN_SUBNODE": "broken KHO subnode '%s': missing or invalid blob-size property",
    "LUO_PANIC": "The incoming tree failed to initialize properly [%pe], disabling live update",
    "LUO_TOO_SMALL": "LUO state is too small (%zu < %zu)",
    "LUO_INCOMPATIBLE": "LUO state is incompatible with '%s'",
    "LUO_FDT_INCOMPATIBLE": "FDT '%s' is incompatible with '%s' [%d]",
    "BLOCK_SET_CORRUPTED": "Block set is corrupted",
    "BLOCK_COUNT": "Block contains invalid entry count: %llu",
    "FILE_COUNT": "File count mismatch: expected %llu, found %llu",
    "NO_HANDLER": "No registered handler for compatible '%.*s'",
    "FILES_FAILED": "Failed to deserialize files for session [%s] %pe",
    "SESSION_FAILED": "Failed to insert session [%s] %pe",
    "MEMFD_NO_FOLIO": "Unable to restore folio at physical address: %llx",
    "MEMFD_SEALS": "failed to add seals: %pe",
    "MEMFD_PAGE_CACHE": "shmem: failed to add to page cache folio index %ld: %pe",
    "TEST_FAILED": "KHO restore failed",
}
#: Logs of kernels whose handover was sound.
HEALTHY = sorted((SAMPLES / "logs").glob("*.log"))
#: What printk puts before a line, and what a console or a collector of logs puts before that.
BEFORE = ["", "[    0.306806] ", "<4>[    0.306806] ", "Nov 24 23:45:40 vm kernel: "]


def test_every_line_is_tried():
    assert {name for name, _ in EVERY} == set(LINES)


def test_lines_that_real_kernels_printed_are_on_record():
    record = (SAMPLES / "README.md").read_text()
    assert all(line in record.splitlines() for _, line in PRINTED)


def test_formats_are_the_kernels():
    faults = {"FAULT_X86", "FAULT_ARM64", "FAULT_ANY"}  # lines of an oops, which no format of KHO's makes
    assert {name: line.format for name, line in LINES.items() if name not in faults} == FORMATS


@pytest.mark.parametrize("log", HEALTHY, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", LINES)
def test_no_pattern_finds_a_line_of_a_sound_handover(name, log):
    pattern = re.compile(LINES[name].pattern)
    assert [line for line in log.read_text().splitlines() if pattern.search(line)] == []


def test_sound_handovers_print_lines_with_the_prefixes_of_the_table():
    """So it is the rest of each pattern, and not a wrong prefix, that keeps it from finding them."""
    text = "".join(log.read_text() for log in HEALTHY)
    assert {line.prefix for line in LINES.values() if line.prefix in text} >= {
        "KHO: ",
        "luo: ",
        "Kernel panic - not syncing: ",
    }


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(("name", "line"), EVERY)
def test_the_pattern_finds_the_line_and_no_other(name, line, before):
    line = before + line
    finders = {other for other in LINES if re.search(LINES[other].pattern, line)}
    assert name in finders
    assert finders <= {name, "FAULT_ANY"} | ({"FAULT_X86", "FAULT_ARM64"} if "FAULT" in name else set())


@pytest.mark.skipif(shutil.which("grep") is None, reason="no grep on this machine")
@pytest.mark.parametrize(("name", "line"), EVERY)
def test_grep_finds_it_too(name, line):
    ran = subprocess.run(
        ["grep", "-E", "-e", LINES[name].pattern], input=line, text=True, capture_output=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_check_foretells_of_a_real_failure_is_what_was_printed():
    """The capture fail-compat, and the failure of LUO that was noted."""
    said = log.FDT_INCOMPATIBLE.of(0x51F000, "kho-v4", 1), log.DISABLED.of(), log.LUO_PANIC.of(Errno.EINVAL)
    for (_, line), printed in zip([*PRINTED, NOTED[0]], said, strict=True):
        assert str(printed) == line
        assert re.search(printed.pattern, line)


def test_an_error_is_found_as_a_number_and_as_a_name():
    pattern = log.SESSION_FAILED.of("vm", Errno.EEXIST).pattern
    for error, is_found in (("-17", True), ("-EEXIST", True), ("-22", False), ("-EINVAL", False)):
        assert bool(re.search(f"{pattern}$", f"luo: Failed to insert session [vm] {error}")) == is_found


def test_what_is_not_known_is_left_open():
    printed = log.FDT_INVALID.of(None, -9)
    assert str(printed) == "KHO: setup: handover FDT (0x?) is invalid: -9"
    assert re.search(printed.pattern, "KHO: setup: handover FDT (0x51f000) is invalid: -9")
    assert not re.search(printed.pattern, "KHO: setup: handover FDT (0x51f000) is invalid: -10$")


@given(st.text(st.characters(exclude_characters="\n")), st.sampled_from(Errno))
def test_any_name_is_found_where_it_was_printed(name, error):
    """Also where a console shows what is not ASCII in its own way."""
    printed = log.FILES_FAILED.of(name, error)
    assert re.search(printed.pattern, str(printed))
    shown = "".join(
        c if " " <= c <= "~" else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogatepass"))
        for c in name
    )
    assert re.search(printed.pattern, f"luo: Failed to deserialize files for session [{shown}] -{error.name}")


def test_a_line_takes_as_many_values_as_its_format():
    with pytest.raises(ValueError, match="does not take 1 values"):
        log.FILE_COUNT.of(1)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_is_foretold_of_an_image_is_found_by_its_own_pattern(rule, tmp_path):
    build = next((build for name, build in BREAKS if name == rule.name), None)
    if build is None:
        assert rule in live.RULES  # held by tests/checking/rules/test_live.py
        return
    for diagnosis in build().examined(tmp_path, broken=True).diagnoses:
        for printed in diagnosis.outcome.log:
            assert re.search(printed.pattern, str(printed))
            assert re.search(printed.line.pattern, str(printed))
