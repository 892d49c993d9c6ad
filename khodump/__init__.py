"""Inspect Linux Kexec HandOver (KHO) state in a memory image.

    with khodump.open("mem.img", fdt="kho.dtb") as handover:
        for phys, order in handover.preserved: ...

`handover.preserved` is an `Extents`: columns `phys`, `order`, `count`, and iteration, `len()`, `totals()`,
`lookup(phys)`. What was wrong with the data is in `handover.findings`; a request that makes no sense raises a
`KhodumpError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Extents",
    "Finding",
    "Handover",
    "KhodumpError",
    "NoHandoverError",
    "Preservation",
    "__version__",
    "open",
]

if TYPE_CHECKING:
    from khodump.api import open_handover as open  # noqa: A004 - as in khodump.open()
    from khodump.columns.extents import Extents, Preservation
    from khodump.errors import KhodumpError, NoHandoverError
    from khodump.findings import Finding
    from khodump.handover import Handover

# Imported on first use: `khodump --version` must not wait for numpy and construct.
_HOMES = {
    "Extents": ("khodump.columns.extents", "Extents"),
    "Finding": ("khodump.findings", "Finding"),
    "Handover": ("khodump.handover", "Handover"),
    "KhodumpError": ("khodump.errors", "KhodumpError"),
    "NoHandoverError": ("khodump.errors", "NoHandoverError"),
    "Preservation": ("khodump.columns.extents", "Preservation"),
    "open": ("khodump.api", "open_handover"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - module attributes are of any type
    if name not in _HOMES:
        raise AttributeError(f"module 'khodump' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
