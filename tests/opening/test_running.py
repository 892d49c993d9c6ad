"""What the boot protocol told the kernel that runs in an image, found by its own variables."""

from __future__ import annotations

import pytest

from khodump.opening.boot import NOTHING_TOLD
from khodump.opening.running import Running
from tests.builders.boot import machine_tree
from tests.builders.kernel.kernel import arm64, handing_over

FDT_AT, TABLE_AT = 0x4123_0000, 0x4124_0000


@pytest.mark.parametrize("variable", ["initial_boot_params_pa", "initial_boot_params"])
def test_arm64s_device_tree_is_found_by_the_kernels_own_variable(variable):
    kernel, _ = handing_over(arm64())
    tree = machine_tree((FDT_AT, 4096), (TABLE_AT, 32), ram=((0x4000_0000, 0x4200_0000),))
    phys = kernel.image.alloc_page(-(-len(tree) // 4096) * 4096)
    kernel.image.write(phys, tree)
    value = phys if variable.endswith("_pa") else kernel.machine.direct(phys)
    kernel.variable(variable, value.to_bytes(8, "little"))
    with kernel.opened() as memory:
        running = Running(memory)
        (notice,) = running.boot.notices
        assert (notice.fdt, notice.scratch_addr, notice.scratch_size) == (FDT_AT, TABLE_AT, 32)
        (ram,) = running.boot.ram
        assert ram.end == 0x4200_0000


@pytest.mark.parametrize("value", [0, 0xFFFF_FFFF_FFFF_0000, 0x4000_0000])
def test_a_variable_that_leads_to_no_device_tree_tells_nothing(value):
    kernel, _ = handing_over(arm64())
    kernel.variable("initial_boot_params_pa", value.to_bytes(8, "little"))
    with kernel.opened() as memory:
        running = Running(memory)
        assert running.boot == NOTHING_TOLD
