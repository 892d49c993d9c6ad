"""The captures in samples/ and the truth that was recorded with each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SAMPLES = Path(__file__).parent.parent / "samples"


@dataclass(frozen=True)
class Capture:
    """A memory image of a real kernel.

    Attributes:
        path: the image.
        fdt_phys: physical address of its root FDT.
        truth: its preservations, in the kernel's own walk order.
        truth_nodes: its tree's pages, where they were recorded.
    """

    path: Path
    fdt_phys: int
    truth: Path
    truth_nodes: Path | None = None

    def blocks(self) -> list[tuple[int, int]]:
        """The truth as (phys, order)."""
        return read_truth(self.truth)

    def nodes(self) -> set[int]:
        """The truth about the tree's own pages; empty where it was not recorded."""
        return {int(line, 16) for line in self.truth_nodes.read_text().split()} if self.truth_nodes else set()


def read_truth(path: Path) -> list[tuple[int, int]]:
    """The (phys, order) lines of a truth file."""
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return [(int(phys, 16), int(order)) for phys, order in rows]


def _capture(
    name: str, image: str, fdt_phys: int, truth: str = "truth.tsv", *, nodes: bool = False
) -> Capture:
    home = SAMPLES / "captures" / name
    return Capture(home / image, fdt_phys, home / truth, home / "truth-nodes.tsv" if nodes else None)


def _historic(name: str, fdt_phys: int) -> Capture:
    home = SAMPLES / "captures" / "historic"
    return Capture(home / f"{name}.elf", fdt_phys, home / f"{name}.truth.tsv")


#: Radix trees, from running kernels.
CAPTURES = {
    "luo-memfd serialized": _capture("luo-memfd", "serialized.elf", 0x4022C000, nodes=True),
    "luo-memfd pre": _capture("luo-memfd", "pre.elf", 0x4022C000, nodes=True),
    "luo-memfd next-out": _capture("luo-memfd", "next-out.elf", 0xF0D000, "truth-next-out.tsv"),
    "kho-test serialized": _capture("kho-test", "serialized.elf", 0x4CD000, nodes=True),
    "fail-compat serialized": _capture("fail-compat", "serialized.elf", 0x51F000),
    "fail-compat next-out": _capture("fail-compat", "next-out.elf", 0x515000, "truth-next-out.tsv"),
    "successor": _capture("successor", "image.elf", 0x35A9000),
}

#: Older maps, from those kernels' own code.
HISTORIC = {
    "v1a": _historic("v1a-small", 0x1_4BDF_0000),
    "v1b": _historic("v1b-618-small", 0x1_48FB_0000),
    "rfc1": _historic("rfc1-small", 0x1_4F96_8000),
}
