"""`diff` of two handovers says what two sets say, and the other way round the mirror image of it."""

from __future__ import annotations

from tests.reference.write.handover import write

from .case import Case
from .command import Row, tell

MIRROR = {"added": "removed", "removed": "added"}


def hold(case: Case) -> None:
    with_itself(case)
    other = other_case(case)
    forth = tell("diff", case.elf, other.elf, "--pages", "-q", "-f", "json")
    back = tell("diff", other.elf, case.elf, "--pages", "-q", "-f", "json")
    assert forth.status == back.status == 1, (forth.stderr, back.stderr)
    assert [mirrored(row) for row in back.json["pages"]] == forth.json["pages"]
    assert (back.json["added"], back.json["removed"]) == (forth.json["removed"], forth.json["added"])
    assert back.json["same"] == forth.json["same"]
    as_sets(case, other, forth.json)


def with_itself(case: Case) -> None:
    """In another container it is still the same."""
    told = tell("diff", case.elf, *case.image("lime"), "-q", "-f", "json")
    assert told.status == 0, (told.stdout, told.stderr)
    assert told.json["runs"] == []


def other_case(case: Case) -> Case:
    """Another handover with the same page size."""
    seed = case.written.seed + 1_000_003
    written = write(seed, case.known.dialect, case.known.page_shift)
    home = case.home / "other"
    home.mkdir(exist_ok=True)
    return Case(written, home)


def mirrored(row: Row) -> Row:
    return {
        **row,
        "change": MIRROR.get(row["change"], row["change"]),
        "old_order": row["new_order"],
        "new_order": row["old_order"],
    }


def as_sets(old: Case, new: Case, told: Row) -> None:
    """Sizes, page by page."""
    size = old.known.page_size
    before = pages(old)
    after = pages(new)
    both = before.keys() & after.keys()
    assert told["removed"] == size * len(before.keys() - after.keys())
    assert told["added"] == size * len(after.keys() - before.keys())
    reordered = sum(before[page] != after[page] for page in both)
    assert told["reordered"] == size * reordered
    assert told["same"] == size * (len(both) - reordered)


def pages(case: Case) -> dict[int, int]:
    """The order of every page that is preserved."""
    shift = case.known.page_shift
    return {(phys >> shift) + page: order for phys, order in case.rows for page in range(1 << order)}
