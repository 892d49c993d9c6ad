"""Owners' sums are what is preserved, and every owner's share is what the reference says."""

from __future__ import annotations

from .case import Case
from .command import tell_well

NOBODY = "(nobody)"


def hold(case: Case) -> None:
    told = tell_well("owners", case.elf, "-q", "-f", "json").json
    size = case.known.page_size
    preserved = sum(size << order for _, order in case.rows)
    assert told["preserved"] == preserved
    assert told["claimed"] + told["claimed_by_nobody"] == preserved
    assert told["claimed_but_not_preserved"] == 0
    assert told["claimed_twice"] == 0
    assert sum(row["preserved"] for row in told["owners"]) == preserved
    shares = {row["owner"]: row["pages"] for row in told["owners"]}
    claims = case.answer.claims
    expected = {owner: len(claims.pages(owner)) for owner in list(claims.ranges)}
    named = {owner: pages for owner, pages in shares.items() if owner in expected}
    assert named == {owner: pages for owner, pages in expected.items() if pages}
    # Several of 6.16's bitmaps share a page.
    own = {at // size for at in (*case.answer.preserved.pages, *case.answer.preserved.bitmaps)}
    assert told["map's_own_pages"] == len(own), "pages of the map"
    by_runs(case, shares)


def by_runs(case: Case, shares: dict[str, int]) -> None:
    """`inspect --owners` cuts runs where owners change, and comes to the same."""
    sums: dict[str, int] = {}
    for row in tell_well("inspect", case.elf, "--owners", "-q", "-f", "jsonl").rows:
        owner = row["owner"] or NOBODY
        sums[owner] = sums.get(owner, 0) + row["size"] // case.known.page_size
    mine = {owner: pages for owner, pages in shares.items() if owner in case.answer.claims.ranges}
    assert {owner: pages for owner, pages in sums.items() if owner in mine} == mine
