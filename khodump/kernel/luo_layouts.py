"""The structures of LUO that lists are read from: kernel/liveupdate/luo_internal.h, include/linux/liveupdate.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from khodump.kernel.btf import Btf
from khodump.kernel.lack import WhyNot
from khodump.kernel.luo_received import RECEIVED_MEMBERS
from khodump.kernel.objects import StructLayout, struct_layout

#: Whether a file was retrieved: an errno in 7.2 and later, a flag before.
STATUS: Final = "retrieve_status"
FLAG: Final = "retrieved"


@dataclass(frozen=True)
class LuoLayouts:
    """Where in each structure the members are that are read.

    Attributes:
        list_head: struct list_head.
        lists: struct luo_session_global.
        session: struct luo_session.
        file: struct luo_file.
        handler: struct liveupdate_file_handler.
    """

    list_head: StructLayout
    lists: StructLayout
    session: StructLayout
    file: StructLayout
    handler: StructLayout


def luo_layouts(btf: Btf) -> LuoLayouts | WhyNot:
    """Those of this kernel."""
    lists = [f"{side}.{member}" for side in ("incoming", "outgoing") for member in ("list", "count")]
    session = ("name", "list", "retrieved", "file_set.files_list", "file_set.count")
    file = ("fh", "file", "serialized_data", "list", "token")
    asked = (
        struct_layout(btf, "list_head", ("next",)),
        struct_layout(btf, "luo_session_global", lists, RECEIVED_MEMBERS),
        struct_layout(btf, "luo_session", session),
        struct_layout(btf, "luo_file", file, (STATUS, FLAG)),
        struct_layout(btf, "liveupdate_file_handler", ("compatible",)),
    )
    layouts = [layout for layout in asked if isinstance(layout, StructLayout)]
    for lack in asked:
        if isinstance(lack, WhyNot):
            return lack
    return LuoLayouts(*layouts)
