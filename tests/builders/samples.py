"""The synthetic samples: `python -m tests.builders.samples [DIR]` writes DIR/synthetic/ (default `samples`)."""

from __future__ import annotations

import sys
from pathlib import Path

from khodump.fdt import FdtNode
from tests.builders.fdt import build_fdt, string, u64
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd

_RAM_END = 8 << 20


def synthetic() -> BuiltHandover:
    """An x86-64 machine of 8 MiB with blocks of every order from 0 to 9 and one empty leaf."""
    blocks = [
        *((0x10000 + page * 0x1000, 0) for page in range(5)),  # five neighbours: one run
        (0x1F000, 0),
        *((0x20000 + pair * 0x2000, 1) for pair in range(3)),
        (0x2C000, 2),
        (0x30000, 3),
        (0x38000, 3),
        (0x40000, 4),
        (0x60000, 5),
        (0x80000, 6),
        (0xC0000, 6),
        (0x200000, 7),
        (0x300000, 8),  # the reserve_mem region "trace"
        (0x400000, 9),
        (0x600000, 9),
    ]
    region = {"compatible": string("reserve-mem-v1"), "start": u64(0x300000), "size": u64(0x100000)}
    memblock = build_fdt(FdtNode("", {"compatible": string("memblock-v1")}, (FdtNode("trace", region),)))
    built = build_handover(
        Description(
            preservations=tuple(blocks),
            empties=((0x400000, 10),),
            subtrees={"memblock": memblock},
            kexec_count=2,
            metadata_start=0x100000,
            metadata_end=0x200000,
        )
    )
    for phys, order in blocks:
        built.image.write(phys, f"order {order} block at {phys:#x}\n".encode())
    return built


def cyclic_sessions() -> BuiltHandover:
    """60 sessions in two blocks, of which the second leads back to the first."""
    built = build_handover(Description(subtrees={"LUO": Luo(tuple(Session(f"vm-{n}") for n in range(60)))}))
    first, second = built.places["LUO/sessions"]
    built.image.write(second, u64(first))
    return built


def lost_folio() -> BuiltHandover:
    """A memfd of which one folio is not in the map."""
    folios = tuple(Folio(page, f"page {page}\n".encode()) for page in range(4))
    luo = Luo((Session("tiny", (LuoFile(1, Memfd(folios)),)), Session("vm-1")))
    built = build_handover(Description(subtrees={"LUO": luo}))
    phys = built.places["LUO/sessions/0/files/0/contents"][2]
    slots, bit = built.geometry.path(built.geometry.encode(phys, 0))
    node = built.tree.root
    for slot in slots:
        node = int.from_bytes(built.image.read(node + 8 * slot, 8), "little")
    byte = built.image.read(node + bit // 8, 1)[0]
    built.image.write(node + bit // 8, bytes([byte & ~(1 << bit % 8)]))
    return built


def write_samples(directory: Path) -> None:
    """Write the synthetic samples into `directory`/synthetic, byte for byte the same every time."""
    target = directory / "synthetic"
    target.mkdir(parents=True, exist_ok=True)
    built = synthetic()
    built.image.to_raw(target / "mem.img", end=_RAM_END)
    (target / "kho.dtb").write_bytes(built.fdt)
    rows = [f"{phys:#x}\t{order}\n" for phys, order in sorted(built.blocks)]
    (target / "truth.tsv").write_text("".join(rows), encoding="ascii")
    cyclic_sessions().image.to_elf(target / "cyclic-sessions.elf")
    lost_folio().image.to_elf(target / "lost-folio.elf")


if __name__ == "__main__":
    write_samples(Path(sys.argv[1] if len(sys.argv) > 1 else "samples"))
