"""Rules of what the root FDT's nodes lead to: blobs, and the chains of pages behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from khodump.abi import luo as luo_abi
from khodump.abi.kexec_handover import PROP_BLOB_SIZE
from khodump.analysis.rules.case import Case
from khodump.analysis.rules.harm import harm
from khodump.analysis.rules.rule import Effect, Hit, Need, Outcome, Rule
from khodump.findings import Finding, Severity
from khodump.subtrees.luo_state import FILES_IN_BLOCKS, SESSIONS_IN_BLOCKS, SESSIONS_OWNER

_SIZED: Final = ("kho-v3", "kho-v4")
_BLOCKS: Final = "kho_block_set_restore(), kernel/liveupdate/kho_block.c"
_VMALLOC: Final = "kho_restore_vmalloc(), kernel/liveupdate/kexec_handover.c"
_PANIC: Final = "luo_core: The incoming tree failed to initialize properly [%pe], disabling live update"
_CHAIN: Final = "khodump lookup IMAGE PHYS shows whose page it is; khodump sessions IMAGE lists what is left."


def _sizeless(case: Case) -> Iterator[Hit]:
    handover = case.opened
    if handover.fdt.compatible not in _SIZED:
        return
    for node, subtree in zip(handover.fdt.tree.children, handover.subtrees, strict=True):
        if subtree.blob is not None and node.u64(PROP_BLOB_SIZE) is None:
            message = f"node {node.name} has no 8-byte {PROP_BLOB_SIZE}"
            yield Hit(subtree.blob.phys, message, node.name)


def _incomplete_outcome(case: Case, finding: Finding) -> Outcome:
    if (
        finding.phys is None or case.opened.fdt.compatible not in _SIZED
    ):  # the kernel says nothing of missing data
        return harm(case, finding.owner)
    line = f"KHO: broken KHO subnode '{finding.owner}': missing or invalid blob-size property"
    return harm(case, finding.owner, line)


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
            yield Hit(phys, message, claims.owner)


def _luo_version(case: Case) -> Iterator[Hit]:
    """LUO's state in a version that khodump reads, and the next kernel does not."""
    for subtree in case.opened.subtrees:
        version = subtree.decoded.kind
        if subtree.name == luo_abi.NODE_NAME and subtree.blob and case.luo and version != case.reader.luo:
            takes = case.reader.luo or "none at all"
            message = f"LUO's state says {version}, and kernels of {case.reader.release} take {takes}"
            yield Hit(subtree.blob.phys, message, subtree.name)


def _incompatible_outcome(case: Case, finding: Finding) -> Outcome:
    if finding.owner != luo_abi.NODE_NAME:
        return harm(case, finding.owner)
    wanted = case.reader.luo
    if wanted is None:
        return Outcome(Effect.SESSIONS, "has no live update orchestrator: nobody asks for the sessions")
    if wanted == "luo-v1":
        return harm(case, finding.owner, "luo_core: FDT 'LUO' is incompatible with 'luo-v1' [1]")
    return harm(case, finding.owner, f"luo_core: LUO state is incompatible with '{wanted}'")


def _small_outcome(case: Case, finding: Finding) -> Outcome:
    size = finding.evidence["value"]
    if finding.owner == luo_abi.NODE_NAME:
        need = finding.evidence["need"]
        return harm(case, finding.owner, f"luo_core: LUO state is too small ({size} < {need})")
    return harm(case, finding.owner)


def _damaged(case: Case, finding: Finding) -> Outcome:
    return harm(case, finding.owner)


def _unreadable(case: Case, finding: Finding) -> Outcome:  # noqa: ARG001 - as all
    return Outcome(Effect.UNKNOWN, "sees what this image does not hold: what that page says is not known")


def _is_in_blocks(case: Case, owner: str | None) -> bool:
    """Whether it is LUO's sessions, or the files of one, in a version that lists them in blocks."""
    version = case.luo.version if case.luo else ""
    if owner == SESSIONS_OWNER:
        return version in SESSIONS_IN_BLOCKS
    return case.session_of(owner) is not None and case.file_of(owner) is None and version in FILES_IN_BLOCKS


def _corrupt_blocks(case: Case, finding: Finding) -> Outcome:
    lines = ["kho_block: Block set is corrupted"] if _is_in_blocks(case, finding.owner) else []
    return harm(case, finding.owner, *lines)


def _invalid_count(case: Case, finding: Finding) -> Outcome:
    if not _is_in_blocks(case, finding.owner):
        return harm(case, finding.owner)
    line = f"kho_block: Block contains invalid entry count: {finding.evidence['value']}"
    return harm(case, finding.owner, line)


RULES: Final = (
    Rule(
        "subtree-incomplete",
        Severity.ERROR,
        "a node of the root FDT lacks its data or its size",
        "Its user gets EINVAL. kho_add_subtree() could fail half-way and leave such a node (fixed by 9ec953298948).",
        "khodump subtrees IMAGE --dts shows the node.",
        "kho_retrieve_subtree(), kernel/liveupdate/kexec_handover.c; 9ec953298948",
        _incomplete_outcome,
        log=("KHO: broken KHO subnode '%s': missing or invalid blob-size property",),
        look=_sizeless,
    ),
    Rule(
        "blob-not-preserved",
        Severity.ERROR,
        "a user's blob lies in pages that are not preserved",
        "The pages go to the page allocator before the user reads them.",
        "khodump lookup IMAGE PHYS says whether the map holds the page.",
        "kho_add_subtree(), kernel/liveupdate/kexec_handover.c, which does not check",
        Outcome(Effect.OVERWRITTEN, "reuses the pages of the blob before its user reads them"),
        needs=(Need.MAP, Need.WHOLE_MAP),
        look=_not_preserved,
    ),
    Rule(
        "blob-unreadable",
        Severity.ERROR,
        "a page that a user needs is not in the image",
        "Nothing can be said of it: the dump may leave the page out though the machine has it.",
        "Dump again with a lower dump level (makedumpfile -d), or with the pages of the handover's users.",
        "the image itself",
        _unreadable,
    ),
    Rule(
        "blob-invalid",
        Severity.ERROR,
        "a blob or a file's state is damaged",
        "Its user refuses it, or reads nonsense.",
        "khodump subtrees IMAGE decodes what is left.",
        "the consumers: mm/memblock.c, kernel/liveupdate/luo_core.c, mm/memfd_luo.c, lib/test_kho.c",
        _damaged,
    ),
    Rule(
        "blob-incompatible",
        Severity.ERROR,
        "a blob is of a version that the next kernel does not take",
        "LUO panics the next kernel, whatever liveupdate= says; other users go without their memory.",
        "khodump subtrees IMAGE shows the version; --next names another kernel to hold it against.",
        "luo_early_startup(), kernel/liveupdate/luo_core.c",
        _incompatible_outcome,
        log=("luo_core: LUO state is incompatible with '%s'", _PANIC),
        look=_luo_version,
    ),
    Rule(
        "blob-too-small",
        Severity.ERROR,
        "a blob is smaller than what it holds",
        "LUO panics the next kernel; other users go without their memory.",
        "khodump subtrees IMAGE shows the size that the root FDT gives.",
        "luo_early_startup(), kernel/liveupdate/luo_core.c; kexec_metadata, kernel/liveupdate/kexec_handover.c",
        _small_outcome,
        log=("luo_core: LUO state is too small (%zu < %zu)", _PANIC),
    ),
    Rule(
        "chain-cycle",
        Severity.ERROR,
        "a chain of pages comes back to a page it has been at",
        "A list of LUO's sessions that does panics the next kernel; a file's array fails that file.",
        _CHAIN,
        f"{_BLOCKS}; {_VMALLOC}",
        _corrupt_blocks,
        log=("kho_block: Block set is corrupted",),
    ),
    Rule(
        "chain-too-long",
        Severity.ERROR,
        "a chain has more pages than the kernel takes, or than its contents need",
        "A list of blocks may have 10000 (KHO_MAX_BLOCKS); an area's chain ends when its pages are named.",
        _CHAIN,
        f"{_BLOCKS}; {_VMALLOC}",
        _corrupt_blocks,
        log=("kho_block: Block set is corrupted",),
    ),
    Rule(
        "chain-pointer-unaligned",
        Severity.ERROR,
        "a chain goes on at an address that begins no page",
        "The kernel follows it and takes what is there for a page of the chain.",
        _CHAIN,
        f"{_BLOCKS}; {_VMALLOC}",
        _damaged,
    ),
    Rule(
        "block-count-invalid",
        Severity.ERROR,
        "a block counts no entries, or more than it holds",
        "The whole list is refused.",
        _CHAIN,
        _BLOCKS,
        _invalid_count,
        log=("kho_block: Block contains invalid entry count: %llu",),
    ),
    Rule(
        "vmalloc-count-mismatch",
        Severity.ERROR,
        "an area's chain does not name as many pages as the area has",
        "The area is not restored, and its owner fails.",
        _CHAIN,
        f"{_VMALLOC}; 20251103110159.8399",
        _damaged,
    ),
    Rule(
        "vmalloc-invalid",
        Severity.ERROR,
        "an area has flags or an order that no kernel writes",
        "The area is not restored, and its owner fails.",
        _CHAIN,
        _VMALLOC,
        _damaged,
    ),
    Rule(
        "vmalloc-block-unaligned",
        Severity.ERROR,
        "a block of an area is not aligned to its size",
        "No block of that order can begin there: the area is not restored, or with other pages.",
        _CHAIN,
        _VMALLOC,
        _damaged,
    ),
)
