"""Inspect Linux Kexec HandOver (KHO) state in a memory image.

    with khodump.open("mem.img", fdt="kho.dtb") as handover:
        for phys, order in handover.preserved: ...
        print(khodump.check(handover, next="7.3").verdict)

`handover.preserved` is an `Extents`: columns `phys`, `order`, `count`, and iteration, `len()`, `totals()`,
`lookup(phys)`. What was wrong with the data is in `handover.all_findings`; a request that makes no sense raises a
`KhodumpError`. What is not named in `khodump.__all__` may change with any version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Checkup",
    "Extents",
    "FdtError",
    "FdtTruncatedError",
    "Finding",
    "Handover",
    "ImageError",
    "KhodumpError",
    "MissingExtraError",
    "NoHandoverError",
    "Owner",
    "Preservation",
    "Severity",
    "UnknownVersionError",
    "UsageError",
    "__version__",
    "check",
    "open",
    "open_live",
]

if TYPE_CHECKING:
    from khodump.api import open_handover as open  # noqa: A004 - as in khodump.open()
    from khodump.api import open_live_handover as open_live
    from khodump.checking.checkup import Checkup, check
    from khodump.columns.extents import Extents, Preservation
    from khodump.errors import (
        FdtError,
        FdtTruncatedError,
        ImageError,
        KhodumpError,
        MissingExtraError,
        NoHandoverError,
        UnknownVersionError,
        UsageError,
    )
    from khodump.findings import Finding, Severity
    from khodump.handover import Handover
    from khodump.owner import Owner

# Imported on first use: `khodump --version` must not wait for numpy and construct.
_HOMES = {
    "Checkup": "khodump.checking.checkup",
    "Extents": "khodump.columns.extents",
    "Finding": "khodump.findings",
    "Handover": "khodump.handover",
    "Owner": "khodump.owner",
    "Preservation": "khodump.columns.extents",
    "Severity": "khodump.findings",
    "check": "khodump.checking.checkup",
    "open": "khodump.api",
    "open_live": "khodump.api",
}
_NAMES = {"open": "open_handover", "open_live": "open_live_handover"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - module attributes are of any type
    if name not in __all__:
        raise AttributeError(f"module 'khodump' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    home = import_module(_HOMES.get(name, "khodump.errors"))
    return getattr(home, _NAMES.get(name, name))


def __dir__() -> list[str]:
    return __all__
