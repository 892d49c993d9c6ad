"""What slim asks the running kernel for, and so keeps."""

from __future__ import annotations

from khodump.extraction.keeping_kernel import ask
from khodump.memories.noted import NotedMemory
from khodump.opening.running import Running
from tests.builders.boot import machine_tree
from tests.builders.kernel.kernel import arm64, handing_over


def test_a_machines_device_tree_is_not_kept():
    """It holds the command line, seeds and serial numbers."""
    kernel, _ = handing_over(arm64())
    tree = machine_tree((0x4123_0000, 4096), (0x4124_0000, 32))
    place = kernel.image.alloc_page(4096)
    kernel.image.write(place, tree)
    kernel.variable("initial_boot_params_pa", place.to_bytes(8, "little"))
    with kernel.opened() as memory:
        assert Running(memory).boot.notices
        noted = NotedMemory(memory)
        ask(Running(noted))
        assert noted.spans
        assert not [at for at, size in noted.spans if at < place + len(tree) and place < at + size]
