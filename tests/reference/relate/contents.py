"""What `extract` takes out is what is in memory; what is not in the dump is never made up."""

from __future__ import annotations

from tests.reference.read.maps import Block
from tests.reference.read.memfd import Memfd
from tests.reference.read.memory import GRAIN

from .case import Case
from .command import tell

LARGEST = 4 << 20
MOST = 4
FILLED = b"\xee"


def hold(case: Case) -> None:
    luo = case.answer.luo
    files = [
        (f"{session.name}/{file.token:#x}", file.memfd)
        for session in (luo.sessions if luo else [])
        for file in session.files
        if file.memfd and 0 < file.memfd.size <= LARGEST
    ]
    for name, file in case.rng.sample(files, min(MOST, len(files))):
        memfd(case, name, file)
    blobs(case)
    bare(case)


def memfd(case: Case, name: str, file: Memfd) -> None:
    """A folio's pages where it says they are in the file, zeros in its holes."""
    told, data = extracted(case, "--memfd", name, "--fill-byte", "0xee")
    assert data is not None, told.stderr
    assert len(data) == file.size
    content = bytearray(-(-file.size // case.known.page_size) * case.known.page_size)
    for folio in file.folios:
        order = case.answer.preserved.order_at(folio.phys) or 0
        at = folio.index << case.known.page_shift
        content[at : at + (case.known.page_size << order)] = held(case, Block(folio.phys, order))
    assert bytes(content[: file.size]) == data, name


def blobs(case: Case) -> None:
    """A node's blob begins with its bytes."""
    known = case.known
    for child in case.answer.root.children:
        at = child.u64(known.dialect.blob_property) or 0
        told, data = extracted(case, "--blob", child.name)
        assert data is not None, told.stderr
        size = child.u64("blob-size")
        assert size is None or len(data) == size, child.name
        assert data == case.written.memory.read(at, len(data))


def bare(case: Case) -> None:
    """A range of physical memory is the memory's bytes."""
    at = case.written.fdt_at + case.rng.randrange(2000)
    size = case.rng.randrange(1, 2000)
    told, data = extracted(case, "--range", f"{at:#x}+{size}")
    assert data == case.written.memory.read(at, size), told.stderr


def held(case: Case, block: Block) -> bytes:
    """A block's bytes, with the filling where the dump has none."""
    grains = case.written.memory.grains
    first = block.phys // GRAIN
    count = (case.known.page_size << block.order) // GRAIN
    return b"".join(bytes(grains.get(first + number, FILLED * GRAIN)) for number in range(count))


def extracted(case: Case, *words: str):
    out = case.home / "extracted"
    out.unlink(missing_ok=True)
    told = tell("extract", case.elf, *words, "-o", str(out), "-q")
    return told, out.read_bytes() if out.exists() else None
