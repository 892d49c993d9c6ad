"""Entries of page tables that no built machine has: addresses above what its memory reaches to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import khodump.api
from khodump.errors import NoHandoverError
from khodump.kernel import Kernel, WhyNot, handover_places, open_kernel
from khodump.kernel.arm64 import Arm64Tables
from khodump.kernel.pagetables import Level, Step, TableFormat
from khodump.kernel.x86_64 import X86Tables
from tests.builders.kernel.kernel import arm64, handing_over, x86
from tests.builders.kernel.machine import Machine
from tests.builders.memory import opened
from tests.kernel.counting import CountingMemory

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


MACHINES: dict[str, Callable[[], Machine]] = {
    "x86, 4 levels": x86,
    "x86, 5 levels": lambda: x86(levels=5),
    "arm64, 4K": arm64,
    "arm64, 16K": lambda: arm64(16384, kimage=0xFFFF_C123_8000_0000),
    "arm64, 64K": lambda: arm64(65536),
}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("which", ["root", "below", "direct map"])
def test_tables_that_lead_back_to_the_root_end_and_lead_to_no_handover(name, which):
    """The last level takes the root for memory; each level is looked at once, whatever the entries say."""
    built, fdt = handing_over(MACHINES[name]())
    lines = built.finish()
    machine = built.machine
    entry = machine.table(machine.root).to_bytes(8, "little")
    if which == "root":
        built.image.write(machine.root, entry * machine.root_slots)
    elif which == "below":
        for table in machine.tables:
            built.image.write(table, entry * (machine.page_size // 8))
    else:
        slot = (machine.direct(fdt) >> machine.shifts[0]) % machine.root_slots
        built.image.write(machine.root + 8 * slot, entry)
    with opened(built.image, machine=machine.elf_machine, vmcoreinfo=lines) as memory:
        counting = CountingMemory(memory)
        kernel = open_kernel(counting)
        if isinstance(kernel, Kernel):
            told = handover_places(kernel).outgoing
            assert isinstance(told, WhyNot) or told.phys != fdt
        assert len(counting.read_pages) < 100
        with pytest.raises(NoHandoverError):
            khodump.api.open_in(memory)
