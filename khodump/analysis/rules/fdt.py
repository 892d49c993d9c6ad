"""Rules of the root FDT: whether the next kernel takes the handover at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from khodump.abi.kexec_handover import PROP_COMPATIBLE
from khodump.analysis.rules.case import Case
from khodump.analysis.rules.rule import Effect, Hit, Outcome, Rule
from khodump.doubt import IN_DOUBT
from khodump.errors import FdtTruncatedError
from khodump.fdt import check_header, total_size
from khodump.findings import Finding, Severity
from khodump.locate import FDT_OWNER
from khodump.problems import FdtLost, FdtOdd

_DISABLED: Final = "KHO: disabling KHO revival"
_COLD: Final = "boots cold, as if nothing had been handed over, and reuses all memory"


def _invalid(case: Case) -> Iterator[Hit]:
    broken, handover = case.broken, case.handover
    if handover is not None and len(handover.fdt.blob) > handover.page_size:
        size = len(handover.fdt.blob)
        message = f"the root FDT says that it is {size} bytes long, and lies in one page"
        yield Hit(case.fdt_phys, message, FDT_OWNER, {"totalsize": size}, Severity.WARNING)
    if broken is None or broken.fdt is not None or isinstance(broken.problem, FdtTruncatedError):
        return
    code = check_header(broken.blob)
    message = f"the root FDT is damaged: {broken.problem}"
    yield Hit(broken.phys, message, FDT_OWNER, {"libfdt": code})


def _invalid_outcome(case: Case, finding: Finding) -> Outcome:  # noqa: ARG001 - as all
    if finding.severity is Severity.WARNING:
        return Outcome(Effect.NONE, "finds all there is in that page")
    code, phys = finding.evidence["libfdt"], finding.phys or 0
    if code:
        return Outcome(
            Effect.COLD_BOOT, _COLD, (f"KHO: setup: handover FDT ({phys:#x}) is invalid: {code}", _DISABLED)
        )
    text = f"finds nothing wrong with the header; unless it can follow the rest, it {_COLD}"
    return Outcome(Effect.UNKNOWN, text)


def _incompatible(case: Case) -> Iterator[Hit]:
    root = case.fdt
    if root is None or case.accepted:
        return
    said = root.compatible or (
        "something that is no string" if PROP_COMPATIBLE in root.tree.properties else "nothing"
    )
    message = f"the root FDT says {said}, and kernels of {case.kernel.release} take {case.kernel.root} alone"
    yield Hit(case.fdt_phys, message, FDT_OWNER, {"missing": PROP_COMPATIBLE not in root.tree.properties})


def _incompatible_outcome(case: Case, finding: Finding) -> Outcome:
    code = -1 if finding.evidence["missing"] else 1  # -FDT_ERR_NOTFOUND, or "does not match"
    where = "?" if finding.phys is None else f"{finding.phys:#x}"
    line = f"KHO: setup: handover FDT ({where}) is incompatible with '{case.kernel.root}': {code}"
    return Outcome(Effect.COLD_BOOT, _COLD, (line, _DISABLED))


def _truncated(case: Case) -> Iterator[Hit]:
    broken, root = case.broken, case.fdt
    if broken is not None and isinstance(broken.problem, FdtTruncatedError):
        size = total_size(broken.blob) or 0
        yield Hit(broken.phys, f"the root FDT is {broken.problem}", FDT_OWNER, {"totalsize": size})
    elif root is not None and root.cut is not None:
        message = (
            f"the file of the root FDT holds {root.cut} of {len(root.blob)} bytes; the image holds the rest"
        )
        yield Hit(root.phys, message, FDT_OWNER, {"totalsize": len(root.blob)}, Severity.INFO)


def _truncated_outcome(case: Case, finding: Finding) -> Outcome:
    if finding.severity is Severity.INFO:
        return Outcome(Effect.NONE, "reads the whole FDT from memory: only debugfs cuts it")
    return Outcome(Effect.UNKNOWN, f"reads the {case.kernel.root} FDT from memory, of which this is a part")


def _odd_outcome(case: Case, finding: Finding) -> Outcome:  # noqa: ARG001 - as all
    if finding.severity is Severity.WARNING:
        return Outcome(Effect.NONE, "finds all of it")
    return Outcome(Effect.UNKNOWN, "finds of the root FDT what stands before the damage")


RULES: Final = (
    Rule(
        "fdt-invalid",
        Severity.ERROR,
        "the root FDT is no flattened device tree",
        "It boots cold. Kernels before 6.18 could hand over a page that was never filled in (libfdt error -9).",
        "khodump lookup IMAGE PHYS shows the page; an FDT begins with d0 0d fe ed.",
        "kho_populate(), kernel/liveupdate/kexec_handover.c; 20250918170617.91413",
        _invalid_outcome,
        log=("KHO: setup: handover FDT (0x%llx) is invalid: %d", _DISABLED),
        needs=(),
        look=_invalid,
    ),
    Rule(
        "fdt-incompatible",
        Severity.ERROR,
        "the root FDT's compatible string is not the next kernel's",
        "It compares the string exactly and boots cold on any other: there is no fallback between versions.",
        "khodump subtrees IMAGE shows the string; --next names another kernel to hold it against.",
        "kho_populate(), kernel/liveupdate/kexec_handover.c; include/linux/kho/abi/kexec_handover.h",
        _incompatible_outcome,
        log=("KHO: setup: handover FDT (0x%llx) is incompatible with '%s': %d", _DISABLED),
        needs=(),
        look=_incompatible,
    ),
    Rule(
        "fdt-truncated",
        Severity.ERROR,
        "the root FDT ends before its own totalsize",
        "Nothing, if only the file is cut: debugfs freezes the length of kho/out/fdt when KHO initialises (7.2, 7.3).",
        "Compare the file's size with the big-endian u32 at offset 4, or read the FDT from the image: leave --fdt out.",
        "kernel/liveupdate/kexec_handover_debugfs.c",
        _truncated_outcome,
        needs=(),
        look=_truncated,
    ),
    Rule(
        FdtOdd.name,
        FdtOdd.severity,
        FdtOdd.title,
        "libfdt follows the tree no further than a lookup has to: what stands before the damage is found, of two things of "
        "one name the first, and of what stands behind, nothing. Users whose nodes are lost so begin anew.",
        "khodump extract IMAGE --range FDT-ADDRESS+4K | fdtdump -; dtc -I dtb refuses what is odd.",
        "fdt_check_header(), fdt_next_tag(), scripts/dtc/libfdt/fdt.c; fdt_get_property_namelen_(), fdt_ro.c",
        _odd_outcome,
    ),
    Rule(
        FdtLost.name,
        FdtLost.severity,
        FdtLost.title,
        "Without a root FDT it boots cold; but the page may be damaged or missing in the image alone.",
        "khodump scan IMAGE lists the root FDTs that are there; debugfs' kho/out/fdt holds a copy.",
        "kho_populate(), kernel/liveupdate/kexec_handover.c",
        Outcome(Effect.UNKNOWN, "needs the root FDT, which this image does not show"),
    ),
    Rule(
        IN_DOUBT,
        Severity.ERROR,
        "the map does not bear out the way the image is read",
        "Nothing can be said of it: a map that lacks the page of its own root FDT, or that preserves memory where a raw "
        "file has none, is damaged, or khodump misreads it.",
        "khodump lookup IMAGE FDT-ADDRESS; every kernel preserves that page at order 0. Then try --page-size, "
        "FILE@BASE, --ranges, or another root FDT of khodump scan.",
        "kho_init(), kernel/liveupdate/kexec_handover.c",
        Outcome(Effect.UNKNOWN, "cannot be foretold: the image may be misread"),
    ),
)
