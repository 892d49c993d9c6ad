"""The running kernel in an image, asked in its own words: VMCOREINFO, kallsyms, BTF, and its own objects.

`open_kernel` gives a `Kernel` or says why not; `handover_places` and `live_luo` ask it. Nothing is searched for, nothing
is known beforehand of where a member is, and all of it is bounded by what the image holds.
"""

from __future__ import annotations

from khodump.kernel.kernel import Kernel
from khodump.kernel.kho import HandoverPlaces, ScratchTable, Told, handover_places
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.luo import live_luo
from khodump.kernel.luo_state import FileState, LiveFile, LiveLuo, LiveSession, SessionList
from khodump.kernel.opening import open_kernel

__all__ = [
    "FileState",
    "HandoverPlaces",
    "Kernel",
    "LiveFile",
    "LiveLuo",
    "LiveSession",
    "Reason",
    "ScratchTable",
    "SessionList",
    "Told",
    "WhyNot",
    "handover_places",
    "live_luo",
    "open_kernel",
]
