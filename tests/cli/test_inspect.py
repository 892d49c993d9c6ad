from __future__ import annotations

import json
from dataclasses import replace

import pytest

from khodump.memories import open_memory
from khodump.memory import Presence
from tests.builders.handover import Description, MapFormat, build_handover
from tests.builders.memory import MemoryImage
from tests.captures import CAPTURES, HISTORIC
from tests.transcript import run

#: What a kernel wrote that said kho-v9 is read as what it is.
AS = {"fail-compat serialized": ["--as", "kho-v4"]}


EVERY = CAPTURES | HISTORIC


def listed(*arguments) -> set[tuple[int, int]]:
    """What `inspect --pages --format tsv` lists; it must end well, and list nothing twice."""
    ran = run("inspect", *arguments, "--pages", "--format", "tsv")
    assert ran.status == 0, ran.stderr
    header, *lines = ran.stdout.splitlines()
    assert header == "phys\torder"
    rows = [(int(phys, 16), int(order)) for phys, order in (line.split("\t") for line in lines)]
    assert rows == sorted(set(rows))
    return set(rows)


def fdt_file(capture, directory):
    """The capture's root FDT as a file."""
    with open_memory([capture.path]) as memory:
        head = memory.read(capture.fdt_phys, 8)
        assert isinstance(head, bytes)
        blob = memory.read(capture.fdt_phys, int.from_bytes(head[4:8], "big"))
    assert isinstance(blob, bytes)
    path = directory / "kho.dtb"
    path.write_bytes(blob)
    return path


def copied(path) -> MemoryImage:
    """A capture as a memory that the builders can write in other forms."""
    image = MemoryImage()
    with open_memory([path]) as memory:
        for start, end, presence in memory.ranges:
            data = memory.read(start, end - start)
            assert presence is Presence.PRESENT
            assert isinstance(data, bytes)
            image.write(start, data)
    return image


@pytest.mark.parametrize("name", EVERY)
def test_every_real_map_is_listed_exactly(name, tmp_path):
    capture = EVERY[name]
    truth = set(capture.blocks())
    options = AS.get(name, [])
    assert listed(capture.path, "--fdt", fdt_file(capture, tmp_path), *options) == truth
    assert listed(capture.path, "--fdt", hex(capture.fdt_phys), *options) == truth
    assert listed(capture.path, *options) == truth


@pytest.mark.parametrize("name", [name for name, capture in CAPTURES.items() if capture.truth_nodes])
def test_every_real_node_is_counted(name):
    capture = CAPTURES[name]
    facts = json.loads(run("inspect", capture.path, "--format", "json").stdout)
    assert facts["nodes"] == len(capture.nodes())
    assert facts["unreadable_nodes"] == 0


@pytest.mark.parametrize("name", EVERY)
def test_the_walk_order_is_the_kernels_own(name):
    capture = EVERY[name]
    ran = run("inspect", capture.path, *AS.get(name, []), "--pages", "--sort", "walk", "--format", "tsv")
    rows = [line.split("\t") for line in ran.stdout.splitlines()[1:]]
    assert [(int(phys, 16), int(order)) for phys, order in rows] == capture.blocks()


@pytest.mark.parametrize("name", EVERY)
def test_a_raw_image_gives_the_same_as_the_core(name, tmp_path):
    capture = EVERY[name]
    truth, options = set(capture.blocks()), AS.get(name, [])
    image = copied(capture.path)
    raw = image.to_raw(tmp_path / "mem.img")
    assert raw.stat().st_blocks * 512 < 8 << 20  # still sparse
    assert listed(f"{raw}@0", *options) == truth
    assert listed(f"{raw}@0", "--fdt", fdt_file(capture, tmp_path), *options) == truth
    end = max(end for _, end in image.ranges)
    cut = capture.fdt_phys & ~0xFFF  # between the FDT and what lies below it
    parts = image.to_raw_parts(tmp_path, [(0x1000, cut), (cut, end)])
    assert all("@" in part for part in parts)
    assert listed(*reversed(parts), "--fdt", hex(capture.fdt_phys), *options) == truth
    assert listed(*parts, *options) == truth


GEOMETRIES = {
    "4K kho-v2": Description("kho-v2", page_size=4096),
    "4K kho-v3": Description("kho-v3", page_size=4096),
    "16K kho-v2, depth 4": Description("kho-v2", page_size=16384, counts_marker=False),
    "16K kho-v3, depth 4": Description("kho-v3", page_size=16384, counts_marker=False),
    "16K kho-v3, depth 5": Description("kho-v3", page_size=16384),
    "16K kho-v4, depth 5": Description("kho-v4", page_size=16384),
    "64K kho-v3": Description("kho-v3", page_size=65536),
    "64K kho-v4": Description("kho-v4", page_size=65536),
    "4K kho-v1a": Description("kho-v1", MapFormat.CHAIN, 512),
    "4K kho-v1b": Description("kho-v1", MapFormat.CHAIN, 4096),
    "16K kho-v1a": Description("kho-v1", MapFormat.CHAIN, 512, page_size=16384),
    "16K kho-v1b": Description("kho-v1", MapFormat.CHAIN, 16384, page_size=16384),
    "64K kho-v1a": Description("kho-v1", MapFormat.CHAIN, 512, page_size=65536),
    "64K kho-v1b": Description("kho-v1", MapFormat.CHAIN, 65536, page_size=65536),
    "4K order table": Description("kho-v1", MapFormat.ORDER_TABLE),
    "16K order table": Description("kho-v1", MapFormat.ORDER_TABLE, page_size=16384),
    "64K order table": Description("kho-v1", MapFormat.ORDER_TABLE, page_size=65536),
    "4K posted radix v1": Description("kho-v1", MapFormat.POSTED_RADIX),
    "16K posted radix v1": Description("kho-v1", MapFormat.POSTED_RADIX, page_size=16384),
    "16K posted radix v2": Description(
        "kho-v2", MapFormat.POSTED_RADIX, page_size=16384, counts_marker=False
    ),
}
#: Only kernels from 7.1 on, of kho-v3, say who they are.
GEOMETRIES = {
    name: replace(shape, kexec_count=None) if shape.compatible in ("kho-v1", "kho-v2") else shape
    for name, shape in GEOMETRIES.items()
}


def blocks_for(description: Description) -> tuple[tuple[int, int], ...]:
    """Runs, single blocks and high orders, with page 0 and addresses up to 1 TiB."""
    page_size = description.page_size
    blocks = [(0, 0), *((0x4000_0000 + i * page_size, 0) for i in range(70)), (0xFF_FFFF_0000, 0)]
    high = (1, 5, 9) if description.map_format is MapFormat.ORDER_TABLE else (1, 5, 9, 11, 13)
    return (
        *blocks,
        *(((order << 34) + (i * page_size << order), order) for order in high for i in (0, 1, 3)),
    )


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_geometry_is_found_and_listed_exactly(name, tmp_path):
    description = replace(GEOMETRIES[name], preservations=blocks_for(GEOMETRIES[name]))
    built = build_handover(description)
    dtb = tmp_path / "kho.dtb"
    dtb.write_bytes(built.fdt)
    core = built.image.to_elf(
        tmp_path / "core", machine="EM_X86_64" if name.startswith("4K") else "EM_AARCH64"
    )
    raw = built.image.to_raw(tmp_path / "mem.img")
    truth = set(built.blocks)
    for image in (core, raw):
        for fdt in (["--fdt", dtb], ["--fdt", hex(built.fdt_phys)], []):
            assert listed(image, *fdt) == truth
            assert listed(image, *fdt, "--page-size", description.page_size) == truth
    facts = json.loads(run("inspect", raw, "--format", "json").stdout)
    assert facts["page_size"] == description.page_size
    if built.tree.nodes:
        assert facts["depth"] == built.geometry.depth
    assert facts["nodes"] == len(built.map_nodes)
