"""A slim core answers as the dump that it was made from, and holds nothing that was preserved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.reference.read import elf

from .case import Case
from .command import tell

COMMANDS = (
    ("inspect", "--pages"),
    ("inspect", "--owners"),
    ("owners",),
    ("sessions",),
    ("subtrees",),
    ("tree",),
    ("check",),
)
# Where in the file a finding stands, and the command that looks at the file again.
OF_THE_FILE = {"stands", "confirm"}
# What names the file, or says how the search through it went; a slim core says itself where its page size is from.
#: Names of the file, and how much of the contents it lacks: a slim file lacks all.
NAMES_OF_THE_FILE = {"image", "fdt_source", "page_size_from", "summary", "not_in_the_image"}


def hold(case: Case) -> None:
    hold_of(case, case.image("elf"), case.home / "slim")


def hold_of(case: Case, image: list[str], slim: Path) -> None:
    keep = ["--keep-unknown"] if case.answer.root.child("vendor-thing") else []
    made = tell("slim", *image, *keep, "-o", str(slim), "-q")
    assert made.status in {0, 4}, made.stderr
    if made.status:
        return
    same_answers(image, [str(slim)])
    nothing_preserved(case, str(slim))


def same_answers(image: list[str], slim: list[str]) -> None:
    """Every command says the same of both, in everything but the file's name."""
    for words in COMMANDS:
        before = tell(*words, *image, "-q", "-f", "json")
        after = tell(*words, *slim, "-q", "-f", "json")
        assert after.status == before.status, (words, before.stderr, after.stderr)
        if before.stdout:
            assert about(after.json) == about(before.json), words


def about(told: dict[str, Any]) -> dict[str, Any]:
    """What was told, without the names of the file, and without where in the file each finding stands."""
    kept = {name: value for name, value in told.items() if name not in NAMES_OF_THE_FILE}
    if isinstance(kept.get("findings"), list):
        kept["findings"] = [
            {name: value for name, value in finding.items() if name not in OF_THE_FILE}
            for finding in kept["findings"]
        ]
    return kept


def nothing_preserved(case: Case, slim: str) -> None:
    """Folios that the writer marked are not in it."""
    memory = elf.read(Path(slim))
    luo = case.answer.luo
    for session in luo.sessions if luo else []:
        for file in session.files:
            for folio in file.memfd.folios if file.memfd else []:
                assert folio.phys // 4096 not in memory.grains
