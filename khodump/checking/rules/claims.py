"""Rules of who counts on which memory: the claims of all users against the map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from khodump.abi.kexec_handover import MAX_PHYS_BITS
from khodump.advice import Blank, confirm, see
from khodump.checking.case import Case
from khodump.checking.harm import file_lost, second_of
from khodump.checking.log import MEMFD_NO_FOLIO, Errno
from khodump.checking.rule import Effect, Hit, Need, Outcome, Rule
from khodump.findings import Entry, Finding, Severity
from khodump.numbers import format_size
from khodump.opening.locate import FDT_OWNER
from khodump.opening.succession import STALE_INCOMING
from khodump.owner import Owner
from khodump.ownership import NOBODY
from khodump.subtree import BLOB
from khodump.subtrees.memfd import FOLIOS, array_owners


def _not_preserved(case: Case) -> Iterator[Hit]:
    """One hit an owner; the root FDT and the blobs have rules of their own."""
    first: dict[Owner, tuple[int, Entry | None]] = {}
    counts: Counter[Owner] = Counter()
    for claims in case.opened.claims():
        if claims.owner == FDT_OWNER or claims.owner.part == BLOB:
            continue
        lost = case.not_preserved(claims)
        if not len(lost):
            continue
        counts[claims.owner] += len(lost)
        if claims.owner not in first:
            first[claims.owner] = int(lost[0]), claims.entry_at(int(lost[0]))
    for owner, (phys, entry) in first.items():
        message = f"{owner} counts on {phys:#x}, where no block is preserved that begins there"
        if counts[owner] > 1:
            message += f", and on {counts[owner] - 1} more such places"
        yield Hit(phys, message, owner, {"count": counts[owner]}, entry=entry)


def _not_preserved_outcome(case: Case, finding: Finding) -> Outcome:
    owner = finding.owner
    file = case.file_of(owner)
    if file is not None and owner == file.owner.with_part(FOLIOS):
        return file_lost(file, Errno.EIO, MEMFD_NO_FOLIO.of(finding.phys))
    if file is not None and owner in array_owners(file.owner):
        return file_lost(file, Errno.EINVAL)
    return Outcome(Effect.OVERWRITTEN, f"reuses the memory that {owner} counts on")


def _twice(case: Case) -> Iterator[Hit]:
    """One hit a pair of owners."""
    for shared in case.shared_claims:
        message = f"{format_size(shared.size)} have two owners, the first at {shared.phys:#x}: "
        if shared.first == shared.second:
            message += f"{shared.first} names it twice"
        else:
            message += f"{shared.first} and {shared.second}"
        entry = shared.entry if shared.met == shared.phys else None
        yield Hit(shared.phys, message, shared.second, {"size": shared.size}, entry=entry)


def _twice_outcome(case: Case, finding: Finding) -> Outcome:
    shared = case.shared_at(finding.phys, finding.owner)
    first, second = case.file_of(shared.first if shared else None), case.file_of(finding.owner)
    if shared is None or first is None or second is None:
        text = "restores that memory for the first who asks, and fails the other"
        return Outcome(Effect.OVERWRITTEN, text)
    both = second_of(first, second)
    return Outcome(
        Effect.FILE,
        f"EIO when {both} is retrieved, after a warning in kho_restore_page()",
        (MEMFD_NO_FOLIO.of(shared.met),),
    )


def _unclaimed(case: Case) -> Iterator[Hit]:
    ownership = case.ownership
    free = (ownership.owner == NOBODY) & (ownership.start < np.uint64(1 << MAX_PHYS_BITS))
    if free.any():
        size = int((ownership.end[free] - ownership.start[free]).sum())
        phys = int(ownership.start[free][0])
        message = f"{format_size(size)} are preserved and claimed by nobody that khodump knows, the first at {phys:#x}"
        yield Hit(phys, message, None, {"size": size})


def _stale(case: Case) -> Iterator[Hit]:
    """A kernel that runs in the same memory has taken the handover over."""
    successor = case.opened.successor
    if successor is not None:
        evidence = {} if successor.fdt is None else {"value": successor.fdt}
        yield Hit(case.fdt_phys, successor.message, FDT_OWNER, evidence)


RULES: Final = (
    Rule(
        "claim-not-preserved",
        Severity.ERROR,
        "a user counts on memory that is not preserved, or not as the block it means",
        "The memory goes to the page allocator; restoring it gives a warning and no folio.",
        confirm(
            see(
                "lookup",
                Blank.PHYS,
                shows="says that no block begins there, where the map would say so, and who claims it",
            )
        ),
        "kho_restore_page(), kernel/liveupdate/kexec_handover.c, which wants the head of a preserved block",
        _not_preserved_outcome,
        log=(MEMFD_NO_FOLIO,),
        needs=(Need.MAP, Need.WHOLE_MAP),
        wants=(Need.FOLIO_LISTS,),
        look=_not_preserved,
    ),
    Rule(
        "claimed-twice",
        Severity.ERROR,
        "two users count on the same memory",
        "The first to restore it gets it; the second gets a warning and no folio. Of two files of LUO, the second cannot be "
        "retrieved (EIO). Kernels of 6.19 to 7.1 let one file be preserved under two tokens, or in two sessions; 7.2 and "
        "later refuse that with EBUSY.",
        confirm(see("lookup", Blank.PHYS, shows="names all who claim it, and where each says so")),
        "kho_restore_page(), kernel/liveupdate/kexec_handover.c, which clears the page's mark; the report of 2026-05-24 "
        "on linux-kernel (7.0.9)",
        _twice_outcome,
        log=(MEMFD_NO_FOLIO,),
        needs=(Need.MAP, Need.WHOLE_MAP),
        wants=(Need.FOLIO_LISTS,),
        look=_twice,
    ),
    Rule(
        "unclaimed",
        Severity.INFO,
        "memory is preserved that no known user claims",
        "It stays reserved for good, unless a user that khodump does not know restores it.",
        confirm(
            see("lookup", Blank.PHYS, shows="shows the block, and that nobody claims it"),
            remark="khodump inspect --owners lists all such memory.",
        ),
        "page->private keeps the mark of such pages (section on page tags of the kernel's KHO notes)",
        Outcome(Effect.NONE, "keeps the memory reserved until somebody restores it"),
        needs=(Need.MAP, Need.WHOLE_MAP, Need.WHOLE_USERS, Need.SERIALIZED),
        look=_unclaimed,
    ),
    Rule(
        STALE_INCOMING,
        Severity.INFO,
        "this is the incoming handover of a kernel that runs already",
        "Nothing more: right after the walk it frees the map's pages, and what it finds here is no longer a handover.",
        confirm(
            see("scan", shows="lists the root FDTs"), remark="Without --fdt, the outgoing one is checked."
        ),
        "kho_mem_retrieve(), kernel/liveupdate/kexec_handover.c; seen in every small guest by the time of user space",
        Outcome(Effect.NONE, "is the one that took this memory over, and has reused it since"),
        needs=(Need.MAP, Need.FDT_PAGE),
        look=_stale,
    ),
)
