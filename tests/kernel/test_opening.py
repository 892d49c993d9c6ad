from __future__ import annotations

from collections.abc import Callable

import pytest

from khodump.abi.kexec_handover import KHO_SCRATCH, KhoScratch
from khodump.kernel import Kernel, Reason, Told, WhyNot, handover_places, open_kernel
from tests.builders.kernel.kernel import BuiltKernel, arm64, x86
from tests.builders.kernel.machine import Machine
from tests.builders.kernel.structs import reordered
from tests.builders.kernel.symbols import Encoding

MACHINES: dict[str, Callable[[], Machine]] = {
    "x86, 4 levels": x86,
    "x86, KASLR": lambda: x86(slide=0x1A00_0000, page_offset=0xFFFF_9C3F_8000_0000),
    "x86, 5 levels": lambda: x86(levels=5, page_offset=0xFF49_A3F8_C000_0000, slide=0x23A0_0000),
    "x86, encrypted": lambda: x86(encrypted=1 << 51),
    "arm64, 4K": arm64,
    "arm64, 4K, 39 bits": lambda: arm64(va_bits=39, used_bits=39, kimage=0xFFFF_FFC0_8000_0000),
    "arm64, 4K, 52 bits": lambda: arm64(va_bits=52, used_bits=52, lpa2=True),
    "arm64, 4K, 52 bits on 48": lambda: arm64(va_bits=52, used_bits=48),
    "arm64, 16K, 48 bits": lambda: arm64(16384, kimage=0xFFFF_C123_8000_0000),
    "arm64, 16K, 47 bits": lambda: arm64(16384, va_bits=47, used_bits=47, kimage=0xFFFF_C123_8000_0000),
    "arm64, 16K, 52 bits on 47": lambda: arm64(16384, va_bits=52, used_bits=47, kimage=0xFFFF_C123_8000_0000),
    "arm64, 64K, 48 bits": lambda: arm64(65536),
    "arm64, 64K, 52 bits on 48": lambda: arm64(65536, va_bits=52, used_bits=48),
    "arm64, 64K, 52 bits": lambda: arm64(65536, va_bits=52, used_bits=52),
    "arm64, 64K, 42 bits": lambda: arm64(65536, va_bits=42, used_bits=42, kimage=0xFFFF_FE00_8000_0000),
}

FDT = bytes.fromhex("d00dfeed") + bytes(60)


def handing_over(machine: Machine, **shape: object) -> tuple[BuiltKernel, int]:
    """A kernel with a root FDT, and where that is."""
    kernel = BuiltKernel(machine, **shape)  # type: ignore[arg-type]
    fdt = kernel.image.alloc_page(machine.page_size)
    kernel.image.write(fdt, FDT)
    kernel.static("kho_out", fdt=machine.direct(fdt))
    kernel.static("kho_in", fdt_phys=0x1234000, scratch_phys=0x5678000)
    regions = KHO_SCRATCH.build(KhoScratch(0x7000_0000, 0x100_0000)) + KHO_SCRATCH.build(
        KhoScratch(0x1_A000_0000, 0)
    )
    kernel.variable("kho_scratch", kernel.object(regions).to_bytes(8, "little"))
    kernel.variable("kho_scratch_cnt", (2).to_bytes(4, "little"))
    return kernel, fdt


def opened_kernel(built: BuiltKernel) -> Kernel | WhyNot:
    with built.opened() as memory:
        return open_kernel(memory)


def refusal(built: BuiltKernel) -> WhyNot:
    answer = opened_kernel(built)
    assert isinstance(answer, WhyNot)
    return answer


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("encoding", Encoding)
def test_the_handover_is_found_without_a_search(name, encoding):
    built, fdt = handing_over(MACHINES[name](), encoding=encoding)
    with built.opened() as memory:
        kernel = open_kernel(memory)
        assert isinstance(kernel, Kernel)
        places = handover_places(kernel)
    assert isinstance(places.outgoing, Told)
    assert places.outgoing.phys == fdt
    assert isinstance(places.incoming, Told)
    assert places.incoming.phys == 0x1234000
    assert isinstance(places.incoming_scratch, Told)
    assert places.incoming_scratch.phys == 0x5678000
    assert not isinstance(places.scratch, WhyNot)
    assert places.scratch.regions == (KhoScratch(0x7000_0000, 0x100_0000), KhoScratch(0x1_A000_0000, 0))


@pytest.mark.parametrize("name", MACHINES)
def test_arithmetic_stands_in_for_page_tables_that_the_image_does_not_hold(name):
    built, fdt = handing_over(MACHINES[name](), structs=reordered())
    for table in built.machine.tables:
        built.image.drop(table, built.machine.page_size)
    with built.opened() as memory:
        kernel = open_kernel(memory)
        assert isinstance(kernel, Kernel)
        places = handover_places(kernel)
    assert isinstance(places.outgoing, Told)
    assert places.outgoing.phys == fdt
