"""Damaged handovers, and what must hold of them all the same."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.reference.images import elf
from tests.reference.images.picture import Picture
from tests.reference.read import fdt, handover
from tests.reference.read.maps import TooMuchError
from tests.reference.read.memory import GRAIN, Memory
from tests.reference.write.handover import SHALLOW

from . import damage, listing
from .case import Case
from .command import Told, tell

COMMANDS = (
    ("check",),
    ("owners",),
    ("sessions",),
    ("subtrees",),
    ("tree",),
    ("map", "--by", "owner"),
    ("lookup", "0x100000"),
    ("scan",),
    ("inspect", "--owners"),
)
FORMATS = ("json", "jsonl", "csv", "tsv", "table")
MOST = 32 << 20


def hold(case: Case, number: int) -> None:
    """One mutant of the case's memory, and one of a file of it."""
    rng = Random(f"{case.written.seed}/{number}")  # noqa: S311 - nothing secret
    memory_mutant(case, rng)
    file_mutant(case, rng)


def memory_mutant(case: Case, rng: Random) -> None:
    """Metadata that was damaged in a dump that is sound: nothing is listed that the reference does not list."""
    memory = case.written.memory.copy()
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        rng.choice(damage.KINDS)(rng, memory, metadata(case))
    known = case.known
    picture = Picture(memory, known.page_size, known.ram_end, known.dialect.release)
    path = case.home / "mutant"
    image = elf.write(picture, path)[0]
    told = listed(image)
    others(rng, image)
    if told.status in {0, 1, 4}:
        nothing_made_up(case, memory, told)
        slim_of_mutant(case, image, told)


def metadata(case: Case) -> list[int]:
    """Grains that hold the root FDT, the map, and what users wrote, but no folios' contents."""
    grains = set(case.written.memory.grains)
    for owner in case.answer.claims.ranges:
        if owner.endswith("folios"):
            size = case.known.page_size // GRAIN
            grains -= {page * size + part for page in case.answer.claims.pages(owner) for part in range(size)}
    return sorted(grains)


def listed(image: str) -> Told:
    return tell("inspect", "--pages", image, "-v", "-f", "jsonl")


def others(rng: Random, image: str) -> None:
    """All other commands end as they may, in any format."""
    for words in rng.sample(COMMANDS, 3):
        tell(words[0], image, *words[1:], "-q", "-f", rng.choice(FORMATS))


def nothing_made_up(case: Case, memory: Memory, told: Told) -> None:
    """What is listed is a part of what the reference lists, and all of it where nothing is wrong.

    Of a shallow tree at 16 KiB it cannot be told: what a damaged key means depends on where RAM is taken to end.
    """
    if case.known.dialect.depth(case.known.page_shift) == SHALLOW and case.known.page_shift == 14:
        return
    try:
        root = handover.read_fdt(memory, case.written.fdt_at)
        expected = handover.read_map(memory, root, case.known)
    except (fdt.FdtError, TooMuchError, LookupError, RecursionError):
        return
    if root.string("compatible") != case.known.dialect.compatible or not expected.pages:
        return
    said = listing.blocks(told)
    extra = set(said) - {tuple(block) for block in expected.blocks}
    assert not extra, f"listed, and not there: {sorted(extra)[:3]} of {len(extra)}"
    if told.status == 0 and not expected.damage:
        missing = {tuple(block) for block in expected.blocks} - set(said)
        assert not missing, f"there, and not listed: {sorted(missing)[:3]} of {len(missing)}"


def slim_of_mutant(case: Case, image: str, told: Told) -> None:
    """Where `slim` says that nothing is missing, its core lists what the dump lists."""
    slim = case.home / "mutant.slim"
    slim.unlink(missing_ok=True)
    made = tell("slim", image, "-o", str(slim), "-q")
    if made.status == 0:
        again = listed(str(slim))
        assert again.status == told.status, f"{told.stderr} | {again.stderr}"
        assert listing.blocks(again) == listing.blocks(told)


def file_mutant(case: Case, rng: Random) -> None:
    """A dump file that was cut or scribbled on: every command ends as it may, and lists nothing that is not there."""
    kind = rng.choice([kind for kind in case.kinds() if "raw" not in kind and "parts" not in kind])
    data = bytearray(Path(case.image(kind)[0]).read_bytes())
    if len(data) > MOST:
        return
    cut = rng.random() < 0.4
    if cut:
        del data[rng.randrange(len(data)) :]
    else:
        damage.scribble(rng, data)
    path = case.home / "damaged"
    path.write_bytes(data)
    told = listed(str(path))
    others(rng, str(path))
    if cut and told.stdout:
        extra = set(listing.blocks(told)) - set(case.rows)
        assert not extra, f"{kind}: listed, and not there: {sorted(extra)[:3]} of {len(extra)}"
