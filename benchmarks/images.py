"""Everything the benchmark reads: `python -m benchmarks.images DIRECTORY` writes it there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import memfds, trees
from khodump.abi.layout import dtype_of
from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER, PFN_BITS
from khodump.memories import open_memory
from khodump.memory import Presence
from khodump.opening.locate import at_address
from khodump.trackers import map_root
from tests.builders.memory import MemoryImage
from tests.captures import CAPTURES

SHAPES: Final = {"dense": trees.dense, "random": trees.random, "sparse": trees.sparse, "mixed": trees.mixed}
#: The kernel's own tree that is walked beside the large ones.
TINY: Final = CAPTURES["luo-memfd serialized"]
_FILE_BYTES: Final = 2 << 30
_MANY: Final = 1 << 24


def write(directory: Path) -> None:
    """Write the images, and the root of each map into a file beside it."""
    for name, leaves in SHAPES.items():
        _note(trees.write_tree(directory / f"{name}.img", leaves()))
    _note(trees.write_tree(directory / "random2.img", trees.random(seed=5)))
    _note(_tiny(directory / "tiny.img"))
    for name, size in (("small", 64 << 20), ("huge", 64 << 40)):
        try:
            trees.write_tree(
                directory / f"{name}.img", trees.leaves_of({0: np.array([0], np.uint64)}), size=size
            )
        except OSError:  # the file system has no room for a hole of that size
            (directory / f"{name}.img").unlink()
    file = directory / "file"
    with file.open("wb") as stream:
        generator = np.random.default_rng(6)
        for _ in range(_FILE_BYTES >> 26):
            stream.write(generator.bytes(1 << 26))
    memfds.write_memfd(directory / "near.img", _FILE_BYTES // trees.PAGE, data=file)
    memfds.write_memfd(directory / "far.img", _FILE_BYTES // trees.PAGE, data=file, scattered=True)
    memfds.write_memfd(directory / "many.img", _MANY)
    entries = np.zeros(_MANY, dtype_of(MEMFD_LUO_FOLIO_SER))
    entries["folio"] = np.arange(_MANY, dtype=np.uint64) | np.uint64(1 << PFN_BITS)
    entries.tofile(directory / "folios")


def _note(tree: trees.Tree) -> None:
    tree.path.with_suffix(".root").write_text(hex(tree.root))


def _tiny(path: Path) -> trees.Tree:
    """A kernel's tree of a few pages, at its addresses in a raw image."""
    image = MemoryImage()
    with open_memory([TINY.path]) as memory:
        for start, end, presence in memory.ranges:
            data = memory.read(start, end - start)
            if presence is Presence.PRESENT and isinstance(data, bytes):
                image.write(start, data)

    with open_memory([f"{image.to_raw(path)}@0"]) as memory:
        root = map_root(at_address(memory, TINY.fdt_phys).tree)
    assert root is not None
    return trees.Tree(path, root)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
