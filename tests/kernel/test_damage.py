"""Kernels of which anything may be damaged: nothing raises, and nothing takes long."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.kernel import Kernel, handover_places, live_luo, open_kernel
from khodump.memory import PhysicalMemory
from tests.builders.kernel.kernel import arm64, handing_over, x86
from tests.builders.kernel.luo_lists import LuoLists
from tests.builders.memory import opened
from tests.kernel.test_luo import SESSIONS

few = settings(max_examples=settings().max_examples // 2)  # a kernel each


def ask_everything(memory: PhysicalMemory) -> None:
    kernel = open_kernel(memory)
    if isinstance(kernel, Kernel):
        handover_places(kernel)
        live_luo(kernel)
        kernel.symbol_phys("boot_params")


@few
@given(st.sampled_from([x86, arm64]), st.data())
def test_damaged_memory_never_raises(machine, data):
    built, _ = handing_over(machine())
    LuoLists(built).write(outgoing=SESSIONS)
    lines = built.finish()
    pages = [at for start, end in built.image.ranges for at in range(start, end, 4096)]
    for _ in range(data.draw(st.integers(1, 12))):
        page = data.draw(st.sampled_from(pages))
        junk = data.draw(st.binary(min_size=1, max_size=16))
        built.image.write(page + data.draw(st.integers(0, 4096 - len(junk))), junk)
    with opened(built.image, machine=built.machine.elf_machine, vmcoreinfo=lines) as memory:
        ask_everything(memory)


VALUES = st.one_of(
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.integers(0, 1 << 70).map(hex),
    st.integers(0, 1 << 70).map("{:x}".format),
    st.text("0123456789abcdefx- .", max_size=30),
)


@few
@given(st.sampled_from([x86, arm64]), st.data())
def test_any_vmcoreinfo_is_taken(machine, data):
    built, _ = handing_over(machine())
    LuoLists(built).write(outgoing=SESSIONS)
    lines = built.finish()
    for name in data.draw(st.lists(st.sampled_from(sorted(lines)), min_size=1, max_size=4)):
        lines[name] = data.draw(VALUES)
    with opened(built.image, machine=built.machine.elf_machine, vmcoreinfo=lines) as memory:
        ask_everything(memory)
