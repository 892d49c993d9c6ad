"""Breaks of the root FDT's rules."""

from __future__ import annotations

from khodump.abi.kernels import kernel_named
from khodump.checking.rule import Effect
from khodump.fdt import FDT_HEADER
from khodump.tracker import MAP_OWNER
from tests.checking.rules.breaking import (
    DISABLED,
    FDT_OWNER,
    Asked,
    Break,
    bit_of,
    breaks,
    flipped,
    handed_over,
    in_fdt,
)

BEHIND = "finds of the root FDT what stands before the damage"
COLD = "boots cold, as if nothing had been handed over, and reuses all memory"


@breaks("fdt-invalid")
def magic() -> Break:
    built = handed_over()
    line = f"KHO: setup: handover FDT ({built.fdt_phys:#x}) is invalid: -9"
    return Break(
        built,
        *flipped(built, built.fdt_phys, 0),
        Effect.COLD_BOOT,
        COLD,
        FDT_OWNER,
        built.fdt_phys,
        (line, DISABLED),
    )


@breaks("fdt-invalid")
def version() -> Break:
    """2 is what libfdt demands at least; 17 | 16 with one bit off is 1."""
    built = handed_over()
    line = f"KHO: setup: handover FDT ({built.fdt_phys:#x}) is invalid: -10"
    return Break(
        built,
        *flipped(built, built.fdt_phys + 23, 4),
        Effect.COLD_BOOT,
        COLD,
        FDT_OWNER,
        built.fdt_phys,
        (line, DISABLED),
    )


@breaks("fdt-invalid")
def where_the_structure_lies() -> Break:
    built = handed_over()
    line = f"KHO: setup: handover FDT ({built.fdt_phys:#x}) is invalid: -8"
    return Break(
        built,
        *flipped(built, built.fdt_phys + 8, 0),
        Effect.COLD_BOOT,
        COLD,
        FDT_OWNER,
        built.fdt_phys,
        (line, DISABLED),
    )


@breaks("fdt-invalid")
def a_tag() -> Break:
    """A kernel looks at the header alone; what it makes of the rest is its own."""
    built = handed_over()
    then = "finds nothing wrong with the header; unless it can follow the rest"
    return Break(
        built, *flipped(built, built.fdt_phys + 56, 30), Effect.UNKNOWN, then, FDT_OWNER, built.fdt_phys
    )


@breaks("fdt-invalid")
def longer_than_its_page() -> Break:
    built = handed_over()
    then = "finds all there is in that page"
    return Break(built, *flipped(built, built.fdt_phys + 6, 6), Effect.NONE, then, FDT_OWNER, built.fdt_phys)


def _incompatible(built, says: str, code: int, **other) -> Break:
    line = f"KHO: setup: handover FDT ({built.fdt_phys:#x}) is incompatible with '{says}': {code}"
    return Break(
        built,
        **other,
        effect=Effect.COLD_BOOT,
        then=COLD,
        owner=FDT_OWNER,
        phys=built.fdt_phys,
        log=(line, DISABLED),
    )


@breaks("fdt-incompatible")
def unknown() -> Break:
    built = handed_over()
    at, data = flipped(built, in_fdt(built, b"kho-v4\0") + 5, 0)
    return _incompatible(built, "kho-v4", 1, at=at, data=data)


@breaks("fdt-incompatible")
def another_kernels() -> Break:
    """kho-v2 and kho-v3 have the map of kho-v4, and blobs with a size."""
    built = handed_over({})
    at, data = in_fdt(built, b"kho-v4\0") + 5, b"3"
    return _incompatible(built, "kho-v4", 1, at=at, data=data, kernel=kernel_named("7.3"))


@breaks("fdt-incompatible")
def no_string() -> Break:
    built = handed_over()
    at, data = flipped(built, in_fdt(built, b"kho-v4\0") + 6, 0)
    return _incompatible(built, "kho-v4", 1, at=at, data=data)


@breaks("fdt-incompatible")
def no_property() -> Break:
    built = handed_over()
    at, data = flipped(built, in_fdt(built, b"compatible\0"), 0)
    return _incompatible(built, "kho-v4", -1, at=at, data=data)


@breaks("fdt-truncated")
def file_cut() -> Break:
    built = handed_over()
    at, data = flipped(built, built.fdt_phys + 6, 4)
    then = "reads the kho-v4 FDT from memory, of which this is a part"
    return Break(built, at, data, Effect.UNKNOWN, then, FDT_OWNER, asked=Asked.BY_FILE, before=("unclaimed",))


@breaks("reading-in-doubt")
def own_page() -> Break:
    built = handed_over()
    then = "cannot be foretold: the image may be misread"
    return Break(built, *bit_of(built, built.fdt_phys, 0), Effect.UNKNOWN, then, MAP_OWNER, built.fdt_phys)


@breaks("fdt-odd")
def the_end() -> Break:
    """The structure block does not end, and all that stands in it is found."""
    built = handed_over()
    header = FDT_HEADER.parse(built.image.read(built.fdt_phys, FDT_HEADER.size))
    end = built.fdt_phys + header.off_dt_struct + header.size_dt_struct - 4
    return Break(built, *flipped(built, end + 3, 1), Effect.UNKNOWN, BEHIND, FDT_OWNER, built.fdt_phys)


@breaks("fdt-odd")
def a_later_version() -> Break:
    built = handed_over()
    at = flipped(built, built.fdt_phys + 23, 1)
    return Break(built, *at, Effect.NONE, "finds all of it", FDT_OWNER, built.fdt_phys)


@breaks("fdt-lost")
def only_the_map() -> Break:
    built = handed_over()
    return Break(
        built,
        built.fdt_phys,
        b"",
        Effect.UNKNOWN,
        "needs the root FDT",
        FDT_OWNER,
        asked=Asked.AS_LOST,
        dropped=built.fdt_phys,
    )
