"""Entries of page tables that no built machine has: addresses above what its memory reaches to."""

from __future__ import annotations

import pytest

from khodump.kernel.arm64 import Arm64Tables
from khodump.kernel.pagetables import Level, Step, TableFormat
from khodump.kernel.x86_64 import X86Tables

FOUR = tuple(Level(shift, 512) for shift in (39, 30, 21, 12))
OF_16K = tuple(Level(shift, 2048) for shift in (47, 36, 25, 14))
OF_64K = tuple(Level(shift, 8192) for shift in (42, 29, 16))

X86 = X86Tables(FOUR)
X86_SME = X86Tables(FOUR, encrypted=1 << 47)
ARM = Arm64Tables(FOUR, 12)
ARM_LPA2 = Arm64Tables(FOUR, 12, is_lpa2=True)
ARM_16K_LPA2 = Arm64Tables(OF_16K, 14, is_lpa2=True)
ARM_64K = Arm64Tables(OF_64K, 16)

TOP = 0x000F_ABCD_EF01_2000  # 52 bits


@pytest.mark.parametrize(
    ("tables", "level", "entry", "step"),
    [
        pytest.param(X86, 3, TOP | 1 << 63 | 0x163, Step(TOP, is_leaf=True), id="x86: a page"),
        pytest.param(X86, 3, TOP | 0x1E3, Step(TOP, is_leaf=True), id="x86: bit 7 of a page is PAT"),
        pytest.param(X86, 2, 0x4020_0000 | 0x1E3, Step(0x4020_0000, is_leaf=True), id="x86: 2M"),
        pytest.param(
            X86, 2, 0x4020_0000 | 1 << 12 | 0x1E3, Step(0x4020_0000, is_leaf=True), id="x86: 2M with PAT"
        ),
        pytest.param(X86, 1, 0x4000_0000 | 0x1E3, Step(0x4000_0000, is_leaf=True), id="x86: 1G"),
        pytest.param(X86, 2, 0x4020_1000 | 0x63, Step(0x4020_1000, is_leaf=False), id="x86: a table"),
        pytest.param(X86, 0, 0x4020_1000 | 0xE3, Step(0x4020_1000, is_leaf=False), id="x86: no 512G pages"),
        pytest.param(X86, 3, 0x4020_1000 | 0x62, None, id="x86: not present"),
        pytest.param(
            X86_SME, 3, 1 << 47 | 0x4020_1000 | 0x63, Step(0x4020_1000, is_leaf=True), id="x86: encrypted"
        ),
        pytest.param(
            ARM,
            3,
            0x8765_4321_0000 | 0x68 << 48 | 0x703,
            Step(0x8765_4321_0000, is_leaf=True),
            id="arm64: a page",
        ),
        pytest.param(ARM, 3, 0x4020_1000 | 0x701, None, id="arm64: a block where only pages are"),
        pytest.param(ARM, 2, 0x4020_0000 | 0x701, Step(0x4020_0000, is_leaf=True), id="arm64: a block"),
        pytest.param(ARM, 2, 0x4020_1000 | 3, Step(0x4020_1000, is_leaf=False), id="arm64: a table"),
        pytest.param(ARM, 2, 0x4020_1000 | 2, None, id="arm64: not valid"),
        pytest.param(
            ARM_LPA2, 3, TOP & (1 << 50) - 1 | 3 << 8 | 0x403, Step(TOP, is_leaf=True), id="arm64: LPA2"
        ),
        pytest.param(
            ARM_16K_LPA2,
            3,
            0x2_4567_8901_4000 | 2 << 8 | 0x403,
            Step(0xA_4567_8901_4000, is_leaf=True),
            id="arm64: LPA2, 16K",
        ),
        pytest.param(
            ARM_64K,
            2,
            0x4567_8901_0000 | 0xF << 12 | 0x703,
            Step(0xF_4567_8901_0000, is_leaf=True),
            id="arm64: LPA, 64K",
        ),
    ],
)
def test_an_entry_leads_where_the_processor_would_go(
    tables: TableFormat, level: int, entry: int, step: Step | None
):
    assert tables.step(entry, tables.levels[level]) == step
