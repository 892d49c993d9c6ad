"""`lookup` of an address says what `inspect` lists there, and whose the reference says it is."""

from __future__ import annotations

from .case import Case
from .command import Row, tell_well

ADDRESSES = 24


def hold(case: Case) -> None:
    addresses = sorted({_address(case) for _ in range(ADDRESSES)})
    rows = tell_well("lookup", case.elf, *addresses, "-q", "-f", "json").json["addresses"]
    owners = owner_of_pages(case)
    for address in addresses:
        said = [row for row in rows if row["address"] == address and not row["state"].startswith("nearest")]
        expected = _blocks_at(case, address)
        assert [(row["start"], row["order"]) for row in said if row["state"] == "preserved"] == expected, hex(
            address
        )
        for row in said:
            _check_owner(row, owners.get(address // case.known.page_size))


def owner_of_pages(case: Case) -> dict[int, str]:
    """Whose each page is that has one owner only."""
    owners: dict[int, str] = {}
    twice: set[int] = set()
    claims = case.answer.claims
    for owner in list(claims.ranges):
        for page in claims.pages(owner):
            if page in owners:
                twice.add(page)
            owners[page] = owner
    return {page: owner for page, owner in owners.items() if page not in twice}


def _check_owner(row: Row, owner: str | None) -> None:
    if row["state"] == "preserved":
        assert row["owner"] == owner, (hex(row["address"]), row["owner"], owner)


def _blocks_at(case: Case, address: int) -> list[tuple[int, int]]:
    size = case.known.page_size
    return [(phys, order) for phys, order in case.rows if phys <= address < phys + (size << order)]


def _address(case: Case) -> int:
    """Inside a block, at its edges, or anywhere."""
    phys, order = case.rng.choice(case.rows)
    size = case.known.page_size << order
    near = phys + case.rng.choice([0, size - 1, size, -1, case.rng.randrange(size)])
    return max(0, case.rng.choice([near, near, near, case.rng.randrange(case.known.ram_end)]))
