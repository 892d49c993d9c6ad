"""What a machine says of its own memory."""

from __future__ import annotations

import pytest

from khodump.fdt import FdtNode, parse_fdt
from khodump.layouts import RamMap
from khodump.opening import ram
from tests.builders.boot import machine_tree, write_boot_params
from tests.builders.fdt import build_fdt
from tests.builders.memory import MemoryImage, opened

AT = 0x9_0840  # a kernel's own boot_params lies at any address
RAM, RESERVED = 1, 2
QEMU = (
    (0, 0x9_FC00, RAM),
    (0x9_FC00, 0xA_0000, RESERVED),
    (0xF_0000, 0x10_0000, RESERVED),
    (0x10_0000, 0xBFFD_F000, RAM),
    (0xBFFD_F000, 0xC000_0000, RESERVED),
    (0x1_0000_0000, 0x1_8000_0000, RAM),
)


def told_by_tree(data: bytes) -> RamMap | None:
    return ram.in_devicetree(parse_fdt(data), "of a test")


def told_by(table):
    image = MemoryImage()
    write_boot_params(image, AT, e820=table)
    with opened(image) as memory:
        return ram.in_boot_params(memory, AT)


def test_an_e820_table_is_read():
    told = told_by(QEMU)
    assert told.ram == ((0, 0x9_FC00), (0x10_0000, 0xBFFD_F000), (0x1_0000_0000, 0x1_8000_0000))
    assert told.reserved == ((0x9_FC00, 0xA_0000), (0xF_0000, 0x10_0000), (0xBFFD_F000, 0xC000_0000))
    assert told.end == 0x1_8000_0000
    assert told.holds(0xBFFD_EFFF)
    assert not told.holds(0xBFFD_F000)
    assert f"{AT:#x}" in told.source


@pytest.mark.parametrize(
    "table",
    [
        (),
        ((0, 0x1000, RESERVED),),
        ((0, 0x2000, RAM), (0x1000, 0x3000, RAM)),
        ((0, 1 << 53, RAM),),
    ],
    ids=["empty", "no RAM", "RAM twice", "beyond any machine"],
)
def test_an_e820_table_that_no_machine_has_is_not_believed(table):
    assert told_by(table) is None


def test_boot_params_that_are_not_in_the_image_say_nothing():
    with opened_empty() as memory:
        assert ram.in_boot_params(memory, AT) is None


def opened_empty():
    image = MemoryImage()
    image.write(0x1000, b"x")
    return opened(image)


@pytest.mark.parametrize("cells", [(2, 2), (1, 1), (2, 1)])
def test_memory_nodes_are_read(cells):
    banks = ((0x8000_0000, 0xC000_0000), (0xD000_0000, 0xF000_0000))
    told = told_by_tree(machine_tree(None, None, cells=cells, ram=banks))
    assert told is not None
    assert told.ram == banks


def test_neighbouring_banks_are_one_and_order_does_not_matter():
    banks = ((0x8000_0000, 0x9000_0000), (0x4000_0000, 0x8000_0000))
    told = told_by_tree(machine_tree(None, None, ram=banks))
    assert told is not None
    assert told.ram == ((0x4000_0000, 0x9000_0000),)


def test_what_the_kernel_may_use_comes_before_what_there_is():
    reg, usable = ((0x4000_0000).to_bytes(8, "big") + size.to_bytes(8, "big") for size in (1 << 30, 1 << 20))
    node = FdtNode("memory@0", {"device_type": b"memory\0", "reg": reg, "linux,usable-memory": usable})
    cells = {name: (2).to_bytes(4, "big") for name in ("#address-cells", "#size-cells")}
    told = told_by_tree(build_fdt(FdtNode("", cells, (node,))))
    assert told is not None
    assert told.ram == ((0x4000_0000, 0x4010_0000),)


def test_a_tree_without_memory_says_nothing():
    assert told_by_tree(machine_tree(None, None)) is None
