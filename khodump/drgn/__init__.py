"""The handover in a `drgn.Program`: a running kernel, a vmcore, a virtual machine behind QMP.

    with khodump.drgn.open(prog) as handover:
        for phys, order in handover.preserved: ...

With the kernel's debug information the root FDT and the scratch regions are looked up in its own variables; without,
its memory is searched as that of any image. `%kho` at drgn's prompt does the same (`khodump.drgn.plugin`). Needs the
extra `khodump[drgn]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["open", "open_leniently"]

if TYPE_CHECKING:
    from khodump.drgn.opening import open_program as open  # noqa: A004 - as in khodump.drgn.open()
    from khodump.drgn.opening import open_program_leniently as open_leniently

# Imported on first use: drgn imports its plugins, and so this package, whenever it starts.
_NAMES = {"open": "open_program", "open_leniently": "open_program_leniently"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - module attributes are of any type
    if name not in _NAMES:
        raise AttributeError(f"module 'khodump.drgn' has no attribute {name!r}")
    from khodump.drgn import opening

    return getattr(opening, _NAMES[name])
