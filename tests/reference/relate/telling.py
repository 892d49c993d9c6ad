"""What is worked out from evidence may be told as well, and it changes nothing when it is true."""

from __future__ import annotations

from tests.reference.read import fdt

from . import listing
from .case import Case

KIB = 1024
# By what the chunk list's two forms are told apart; the others are named by their string.
FORMS = {"kho-v1a": "kho-v1a", "kho-v1b-6.18": "kho-v1b", "kho-v1b": "kho-v1b"}


def hold(case: Case) -> None:
    size = f"{case.known.page_size // KIB}K"
    version = FORMS.get(case.known.dialect.name, case.known.dialect.compatible)
    image = case.image("lime", tells=False)
    told = ["--page-size", size, "--as", version]
    for root in (["--fdt", hex(case.written.fdt_at)], ["--fdt", device_tree(case)], []):
        assert listing.pages_of(*image, *root, *told) == case.rows, root


def device_tree(case: Case) -> str:
    """The root FDT in a file of its own, as debugfs gives it."""
    memory = case.written.memory
    size = fdt.total_size(memory.read(case.written.fdt_at, 8))
    path = case.home / "root.dtb"
    path.write_bytes(memory.read(case.written.fdt_at, size))
    return str(path)
