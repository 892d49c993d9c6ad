"""Rules of the root FDT: whether the next kernel takes the handover at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from khodump.abi.kexec_handover import PROP_COMPATIBLE
from khodump.advice import Blank, confirm, see
from khodump.checking.case import Case
from khodump.checking.log import DISABLED, FDT_INCOMPATIBLE, FDT_INVALID
from khodump.checking.rule import Effect, Hit, Outcome, Rule
from khodump.checking.standing import root_property
from khodump.errors import FdtTruncatedError
from khodump.fdt import check_header, total_size
from khodump.findings import Finding, Severity
from khodump.opening.doubt import IN_DOUBT
from khodump.opening.locate import FDT_OWNER
from khodump.problems import FdtLost, FdtOdd

_COLD: Final = "boots cold, as if nothing had been handed over, and reuses all memory"


def _invalid(case: Case) -> Iterator[Hit]:
    mapless, handover = case.mapless, case.handover
    if handover is not None and len(handover.fdt.blob) > handover.page_size:
        size = len(handover.fdt.blob)
        message = f"the root FDT says that it is {size} bytes long, and lies in one page"
        yield Hit(case.fdt_phys, message, FDT_OWNER, {"totalsize": size}, Severity.WARNING)
    if mapless is None or mapless.fdt is not None or isinstance(mapless.problem, FdtTruncatedError):
        return
    code = check_header(mapless.blob)
    message = f"the root FDT is damaged: {mapless.problem}"
    yield Hit(mapless.phys, message, FDT_OWNER, {"libfdt": code})


def _invalid_outcome(case: Case, finding: Finding) -> Outcome:  # noqa: ARG001 - as all
    if finding.severity is Severity.WARNING:
        return Outcome(Effect.NONE, "finds all there is in that page")
    code, phys = finding.evidence["libfdt"], finding.phys
    if code:
        return Outcome(Effect.COLD_BOOT, _COLD, (FDT_INVALID.of(phys, code), DISABLED.of()))
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
    evidence = {"missing": PROP_COMPATIBLE not in root.tree.properties}
    yield Hit(case.fdt_phys, message, FDT_OWNER, evidence, entry=root_property(case, PROP_COMPATIBLE))


def _incompatible_outcome(case: Case, finding: Finding) -> Outcome:
    code = -1 if finding.evidence["missing"] else 1  # -FDT_ERR_NOTFOUND, or "does not match"
    line = FDT_INCOMPATIBLE.of(finding.phys, case.kernel.root, code)
    return Outcome(Effect.COLD_BOOT, _COLD, (line, DISABLED.of()))


def _truncated(case: Case) -> Iterator[Hit]:
    mapless, root = case.mapless, case.fdt
    if mapless is not None and isinstance(mapless.problem, FdtTruncatedError):
        size = total_size(mapless.blob) or 0
        yield Hit(mapless.phys, f"the root FDT is {mapless.problem}", FDT_OWNER, {"totalsize": size})
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
        confirm(
            see("lookup", Blank.PHYS, shows="shows how the page begins; an FDT begins with d0 0d fe ed"),
            see(
                "od",
                "-A",
                "x",
                "-t",
                "x1",
                "-N",
                "16",
                Blank.FDT_FILE,
                program=None,
                shows="shows how the file begins; an FDT begins with d0 0d fe ed",
            ),
        ),
        "kho_populate(), kernel/liveupdate/kexec_handover.c; 20250918170617.91413",
        _invalid_outcome,
        log=(FDT_INVALID, DISABLED),
        needs=(),
        look=_invalid,
    ),
    Rule(
        "fdt-incompatible",
        Severity.ERROR,
        "the root FDT's compatible string is not the next kernel's",
        "It compares the string exactly and boots cold on any other: there is no fallback between versions.",
        confirm(
            see("subtrees", "--dts", shows="prints the root FDT, with the string"),
            see("lookup", Blank.ENTRY, shows="shows the string"),
            remark="check --next KERNEL holds it against another kernel.",
        ),
        "kho_populate(), kernel/liveupdate/kexec_handover.c; include/linux/kho/abi/kexec_handover.h",
        _incompatible_outcome,
        log=(FDT_INCOMPATIBLE, DISABLED),
        needs=(),
        look=_incompatible,
    ),
    Rule(
        "fdt-truncated",
        Severity.ERROR,
        "the root FDT ends before its own totalsize",
        "Nothing, if only the file is cut: debugfs freezes the length of kho/out/fdt when KHO initialises (7.2, 7.3).",
        confirm(
            see(
                "wc",
                "-c",
                Blank.FDT_FILE,
                program=None,
                shows="shows how long the file is; an FDT says how long it is in the big-endian u32 at offset 4",
            ),
            see(
                "lookup",
                Blank.FDT,
                shows="shows how the FDT begins: its length is the big-endian u32 at offset 4",
            ),
            remark="Without --fdt, the FDT is read from the image.",
        ),
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
        confirm(
            see("subtrees", "--dts", shows="prints what libfdt finds of the root FDT, and tells what is odd"),
            remark="fdtdump shows it as another program reads it, and dtc refuses what is odd.",
        ),
        "fdt_check_header(), fdt_next_tag(), scripts/dtc/libfdt/fdt.c; fdt_get_property_namelen_(), fdt_ro.c",
        _odd_outcome,
    ),
    Rule(
        FdtLost.name,
        FdtLost.severity,
        FdtLost.title,
        "Without a root FDT it boots cold; but the page may be damaged or missing in the image alone.",
        confirm(
            see("scan", shows="lists the root FDTs that are there"),
            remark="debugfs' kho/out/fdt holds a copy.",
        ),
        "kho_populate(), kernel/liveupdate/kexec_handover.c",
        Outcome(Effect.UNKNOWN, "needs the root FDT, which this image does not show"),
    ),
    Rule(
        IN_DOUBT,
        Severity.ERROR,
        "the map does not bear out the way the image is read",
        "Nothing can be said of it: a map that lacks the page of its own root FDT, or that preserves memory where a raw "
        "file has none, is damaged, or khodump misreads it.",
        confirm(
            see(
                "lookup",
                Blank.FDT,
                shows="says whether that page is in the map: every kernel preserves it at order 0",
            ),
            see("scan", shows="lists the root FDTs that are there"),
            remark="Then try --page-size, FILE@BASE, --ranges, or another root FDT of khodump scan.",
        ),
        "kho_init(), kernel/liveupdate/kexec_handover.c",
        Outcome(Effect.UNKNOWN, "cannot be foretold: the image may be misread"),
    ),
)
