"""One machine's memory at one moment, as QEMU wrote it in three formats."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from khodump.abi.kexec_handover import RadixGeometry
from khodump.fdt import parse_fdt
from khodump.memories import open_memory
from khodump.memory import Presence
from khodump.trackers.radix import RadixTracker
from tests.builders.flattened import flatten
from tests.builders.kdump import FLAGS, build_kdump, split_kdump
from tests.builders.lime import build_avml, build_lime
from tests.captures import CAPTURES
from tests.transcript import run

CAPTURE = CAPTURES["luo-memfd serialized"]
HOME = CAPTURE.path.parent
KDUMPS = ("serialized.kdump-zlib", "serialized.kdump-zlib-flat")


@pytest.mark.parametrize("name", KDUMPS)
def test_kdump_holds_what_the_elf_core_holds(name):
    """The core has 72 pages of memfd contents too, which the kdumps leave out."""
    with open_memory([HOME / "serialized.elf"]) as core, open_memory([HOME / name]) as memory:
        pfns = np.concatenate([np.arange(r.start >> 12, r.end >> 12, dtype=np.uint64) for r in core.ranges])
        expected, got = core.gather(pfns * 4096, 4096), memory.gather(pfns * 4096, 4096)
        held = got.presence == Presence.PRESENT
        assert (got.data[held] == expected.data[held]).all()
        assert set(got.presence[~held].tolist()) == {Presence.EXCLUDED}
        assert (len(pfns), int(held.sum())) == (465, 393)
        assert sum(r.end - r.start for r in memory.populated()) == 393 * 4096
        assert memory.end == 4 << 30
        assert memory.read(2 << 30, 1) != memory.read((2 << 30) - 1, 1)
        assert memory.platform.machine == "x86_64"
        assert memory.platform.vmcoreinfo["OSRELEASE"] == "7.3.4-khotruth"


@pytest.mark.parametrize("name", ["serialized.elf", *KDUMPS])
def test_the_preserved_map_is_the_kernels_own(name):
    root = parse_fdt((HOME / "kho-out.dtb").read_bytes()).properties["preserved-memory-map"]
    with open_memory([HOME / name]) as memory:
        walk = RadixTracker(memory, int.from_bytes(root, "little"), RadixGeometry(12, 6)).walk()
        blocks = [
            (phys + nth * (4096 << order), order)
            for batch in walk
            for phys, order, count in zip(
                batch.phys.tolist(), batch.order.tolist(), batch.count.tolist(), strict=True
            )
            for nth in range(count)
        ]
    assert blocks == CAPTURE.blocks()
    assert walk.findings == []


def iomem(pages: dict[int, bytes]) -> str:
    """A line a page, as /proc/iomem would have it of a machine with no more memory than that."""
    return "".join(f"{at:08x}-{at + 4095:08x} : System RAM\n" for at in sorted(pages))


def test_inspect_prints_the_same_of_every_format(tmp_path):
    with open_memory([CAPTURE.path]) as core:
        found = {at: core.read(at, 4096) for r in core.ranges for at in range(r.start, r.end, 4096)}
    pages = {at: data for at, data in found.items() if isinstance(data, bytes)}
    dumps = {
        **{codec: build_kdump(pages, codec=codec) for codec in FLAGS},
        "flattened": flatten(build_kdump(pages)),
        "lime": build_lime(pages),
        "avml": build_avml(pages),
        "concatenated": b"".join(pages[at] for at in sorted(pages)),
    }
    for name, dump in dumps.items():
        (tmp_path / name).write_bytes(dump)
    (tmp_path / "iomem").write_text(iomem(pages))
    parts = [tmp_path / f"part{i}" for i in range(3)]
    for path, dump in zip(parts, split_kdump(pages, [0x40100, 0x40900]), strict=True):
        path.write_bytes(dump)
    recorded = listing(str(CAPTURE.path))
    assert len(recorded.splitlines()) == 3634
    assert {name for name in dumps if listing(str(tmp_path / name)) != recorded} == {"concatenated"}
    assert listing(*map(str, parts)) == recorded
    assert listing((tmp_path / "zstd").as_uri()) == recorded
    with open_memory([tmp_path / "concatenated"], ranges=tmp_path / "iomem") as memory:
        assert all(memory.read(at, 4096) == data for at, data in pages.items())


def listing(*images: str) -> str:
    return run("inspect", *images, "--fdt", str(HOME / "kho-out.dtb"), "--pages", "--format", "tsv").stdout


def test_both_kdumps_give_the_same_ranges():
    with open_memory([HOME / KDUMPS[0]]) as plain, open_memory([HOME / KDUMPS[1]]) as flat:
        assert plain.ranges == flat.ranges
        assert all(left.end <= right.start for left, right in pairwise(plain.ranges))
