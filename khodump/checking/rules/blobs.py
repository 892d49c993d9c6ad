"""Rules of what the root FDT's nodes lead to: blobs, and the chains of pages behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from khodump.abi import luo as luo_abi
from khodump.abi.kernels import is_sized
from khodump.abi.kexec_handover import PROP_BLOB_SIZE
from khodump.advice import Blank, confirm, see
from khodump.checking.case import Case
from khodump.checking.harm import harm
from khodump.checking.log import (
    BLOCK_COUNT,
    BLOCK_SET_CORRUPTED,
    BROKEN_SUBNODE,
    LUO_FDT_INCOMPATIBLE,
    LUO_INCOMPATIBLE,
    LUO_PANIC,
    LUO_TOO_SMALL,
)
from khodump.checking.rule import Effect, Hit, Need, Outcome, Rule
from khodump.findings import Finding, Severity
from khodump.owner import Owner
from khodump.problems import (
    BlobIncompatible,
    BlobInvalid,
    BlobTooSmall,
    BlobUnreadable,
    BlockCountInvalid,
    ChainCycle,
    ChainPointerUnaligned,
    ChainTooLong,
    ListPageShared,
    SubtreeIncomplete,
    VmallocBlockUnaligned,
    VmallocCountMismatch,
    VmallocInvalid,
)
from khodump.subtrees.luo_state import SESSIONS_OWNER

_BLOCKS: Final = "kho_block_set_restore(), kernel/liveupdate/kho_block.c"
_VMALLOC: Final = "kho_restore_vmalloc(), kernel/liveupdate/kexec_handover.c"
_LIST: Final = see("sessions", shows="lists what is left")
_CHAIN: Final = confirm(
    see("lookup", Blank.ENTRY, shows="shows what the bad entry holds, and whose page it is in"),
    see("lookup", Blank.PHYS, shows="shows whose page it is, and how it begins"),
    _LIST,
)
_DESCRIPTOR: Final = confirm(
    see(
        "lookup",
        Blank.ENTRY,
        shows="shows the descriptor: address, pages, and in its last 4 bytes flags and order",
    ),
    _LIST,
)


def _sizeless(case: Case) -> Iterator[Hit]:
    handover = case.opened
    if not is_sized(handover.fdt.compatible, handover.version):
        return
    for node, subtree in zip(handover.fdt.tree.children, handover.subtrees, strict=True):
        if subtree.blob is not None and node.u64(PROP_BLOB_SIZE) is None:
            message = f"node {node.name} has no 8-byte {PROP_BLOB_SIZE}"
            yield Hit(subtree.blob.phys, message, Owner(node.name), entry=subtree.entry)


def _incomplete_outcome(case: Case, finding: Finding) -> Outcome:
    handover = case.opened
    sized = is_sized(handover.fdt.compatible, handover.version)
    if finding.phys is None or not sized:  # the kernel says nothing of missing data
        return harm(case, finding.owner)
    return harm(case, finding.owner, BROKEN_SUBNODE.of(finding.owner.user if finding.owner else None))


def _not_preserved(case: Case) -> Iterator[Hit]:
    handover = case.opened
    for subtree in handover.subtrees:
        if subtree.blob is None:
            continue
        (claims, *_) = subtree.claims(handover.page_size)
        lost = case.not_preserved(claims)
        if len(lost):
            phys = int(lost[0])
            message = f"the blob of node {subtree.name}, at {subtree.blob.phys:#x}, lies in pages that are not preserved"
            yield Hit(phys, message, claims.owner, entry=claims.entry_at(phys))


def _luo_version(case: Case) -> Iterator[Hit]:
    """LUO's state in a version that khodump reads, and the next kernel does not."""
    for subtree in case.opened.subtrees:
        version = subtree.decoded.kind
        if subtree.name == luo_abi.NODE_NAME and subtree.blob and case.luo and version != case.reader.luo:
            takes = case.reader.luo or "none at all"
            message = f"LUO's state says {version}, and kernels of {case.reader.release} take {takes}"
            yield Hit(subtree.blob.phys, message, Owner(subtree.name))


def _incompatible_outcome(case: Case, finding: Finding) -> Outcome:
    if finding.owner != Owner(luo_abi.NODE_NAME):
        return harm(case, finding.owner)
    wanted = case.reader.luo
    if wanted is None:
        return Outcome(Effect.SESSIONS, "has no live update orchestrator: nobody asks for the sessions")
    if wanted == "luo-v1":
        return harm(case, finding.owner, LUO_FDT_INCOMPATIBLE.of(luo_abi.NODE_NAME, wanted, 1))
    return harm(case, finding.owner, LUO_INCOMPATIBLE.of(wanted))


def _small_outcome(case: Case, finding: Finding) -> Outcome:
    seen = BlobTooSmall.of(finding)
    if finding.owner != Owner(luo_abi.NODE_NAME) or seen is None:
        return harm(case, finding.owner)
    return harm(case, finding.owner, LUO_TOO_SMALL.of(seen.value, seen.need))


def _damaged(case: Case, finding: Finding) -> Outcome:
    return harm(case, finding.owner)


def _unreadable(case: Case, finding: Finding) -> Outcome:  # noqa: ARG001 - as all
    return Outcome(Effect.UNKNOWN, "sees what this image does not hold: what that page says is not known")


def _is_in_blocks(case: Case, owner: Owner | None) -> bool:
    """Whether it is LUO's sessions, or the files of one, in a version that lists them in blocks."""
    layout = luo_abi.luo_version(case.luo.version if case.luo else "")
    if owner == SESSIONS_OWNER:
        return layout.sessions_in_blocks
    return case.session_of(owner) is not None and case.file_of(owner) is None and layout.files_in_blocks


def _corrupt_blocks(case: Case, finding: Finding) -> Outcome:
    lines = [BLOCK_SET_CORRUPTED.of()] if _is_in_blocks(case, finding.owner) else []
    return harm(case, finding.owner, *lines)


def _too_many_blocks(case: Case, finding: Finding) -> Outcome:
    """A list that ends before the kernel's look for cycles gives up fails without a word (ENOSPC)."""
    seen = ChainTooLong.of(finding)
    if seen is not None and seen.blocks is not None and _is_in_blocks(case, finding.owner):
        return harm(case, finding.owner)
    return _corrupt_blocks(case, finding)


def _invalid_count(case: Case, finding: Finding) -> Outcome:
    seen = BlockCountInvalid.of(finding)
    if seen is None or not _is_in_blocks(case, finding.owner):
        return harm(case, finding.owner)
    return harm(case, finding.owner, BLOCK_COUNT.of(seen.value))


RULES: Final = (
    Rule(
        SubtreeIncomplete.name,
        SubtreeIncomplete.severity,
        SubtreeIncomplete.title,
        "Its user gets EINVAL. kho_add_subtree() could fail half-way and leave such a node (fixed by 9ec953298948).",
        confirm(see("subtrees", "--dts", shows="prints the node")),
        "kho_retrieve_subtree(), kernel/liveupdate/kexec_handover.c; 9ec953298948",
        _incomplete_outcome,
        log=(BROKEN_SUBNODE,),
        look=_sizeless,
    ),
    Rule(
        "blob-not-preserved",
        Severity.ERROR,
        "a user's blob lies in pages that are not preserved",
        "The pages go to the page allocator before the user reads them.",
        confirm(
            see("lookup", Blank.PHYS, shows="says whether the map holds the page, and where it would say so")
        ),
        "kho_add_subtree(), kernel/liveupdate/kexec_handover.c, which does not check",
        Outcome(Effect.OVERWRITTEN, "reuses the pages of the blob before its user reads them"),
        needs=(Need.MAP, Need.WHOLE_MAP),
        look=_not_preserved,
    ),
    Rule(
        BlobUnreadable.name,
        BlobUnreadable.severity,
        BlobUnreadable.title,
        "Nothing can be said of it: the dump may leave the page out though the machine has it.",
        confirm(
            see("lookup", Blank.PHYS, shows="says why the image does not hold the page"),
            remark="Dump again with a lower dump level (makedumpfile -d), or with the pages of the handover's users.",
        ),
        "the image itself",
        _unreadable,
    ),
    Rule(
        BlobInvalid.name,
        BlobInvalid.severity,
        BlobInvalid.title,
        "Its user refuses it, or reads nonsense.",
        confirm(
            see("lookup", Blank.PHYS, shows="shows how it begins, and whose it is"),
            see("subtrees", shows="decodes what is left"),
        ),
        "the consumers: mm/memblock.c, kernel/liveupdate/luo_core.c, mm/memfd_luo.c, lib/test_kho.c",
        _damaged,
    ),
    Rule(
        BlobIncompatible.name,
        BlobIncompatible.severity,
        BlobIncompatible.title,
        "LUO panics the next kernel, whatever liveupdate= says; other users go without their memory.",
        confirm(
            see("subtrees", shows="shows the version"),
            see("lookup", Blank.PHYS, shows="shows how it begins"),
            remark="check --next KERNEL holds it against another kernel.",
        ),
        "luo_early_startup(), kernel/liveupdate/luo_core.c",
        _incompatible_outcome,
        log=(LUO_INCOMPATIBLE, LUO_FDT_INCOMPATIBLE, LUO_PANIC),
        look=_luo_version,
    ),
    Rule(
        BlobTooSmall.name,
        BlobTooSmall.severity,
        BlobTooSmall.title,
        "LUO panics the next kernel; other users go without their memory.",
        confirm(see("subtrees", "--dts", shows="prints the size that the root FDT gives")),
        "luo_early_startup(), kernel/liveupdate/luo_core.c; kexec_metadata, kernel/liveupdate/kexec_handover.c",
        _small_outcome,
        log=(LUO_TOO_SMALL, LUO_PANIC),
    ),
    Rule(
        ChainCycle.name,
        ChainCycle.severity,
        ChainCycle.title,
        "A list of LUO's sessions that does panics the next kernel; a file's array fails that file.",
        _CHAIN,
        f"{_BLOCKS}; {_VMALLOC}",
        _corrupt_blocks,
        log=(BLOCK_SET_CORRUPTED,),
    ),
    Rule(
        ChainTooLong.name,
        ChainTooLong.severity,
        ChainTooLong.title,
        "A list of blocks may have 10000 (KHO_MAX_BLOCKS); an area's chain ends when its pages are named.",
        _CHAIN,
        f"{_BLOCKS}; {_VMALLOC}",
        _too_many_blocks,
        log=(BLOCK_SET_CORRUPTED,),
    ),
    Rule(
        ChainPointerUnaligned.name,
        ChainPointerUnaligned.severity,
        ChainPointerUnaligned.title,
        "The kernel follows it and takes what is there for a page of the chain.",
        _CHAIN,
        f"{_BLOCKS}; {_VMALLOC}",
        _damaged,
    ),
    Rule(
        ListPageShared.name,
        ListPageShared.severity,
        ListPageShared.title,
        "The first to restore such a page gets it; the next gets a warning and no page, and fails.",
        _CHAIN,
        f"kho_restore_page(), kernel/liveupdate/kexec_handover.c, which clears the page's mark; {_VMALLOC}",
        _damaged,
    ),
    Rule(
        BlockCountInvalid.name,
        BlockCountInvalid.severity,
        BlockCountInvalid.title,
        "The whole list is refused.",
        _CHAIN,
        _BLOCKS,
        _invalid_count,
        log=(BLOCK_COUNT,),
    ),
    Rule(
        VmallocCountMismatch.name,
        VmallocCountMismatch.severity,
        VmallocCountMismatch.title,
        "The area is not restored, and its owner fails.",
        _CHAIN,
        f"{_VMALLOC}; 20251103110159.8399",
        _damaged,
    ),
    Rule(
        VmallocInvalid.name,
        VmallocInvalid.severity,
        VmallocInvalid.title,
        "The area is not restored, and its owner fails.",
        _DESCRIPTOR,
        _VMALLOC,
        _damaged,
    ),
    Rule(
        VmallocBlockUnaligned.name,
        VmallocBlockUnaligned.severity,
        VmallocBlockUnaligned.title,
        "No block of that order can begin there: the area is not restored, or with other pages.",
        _CHAIN,
        _VMALLOC,
        _damaged,
    ),
)
