"""include/linux/kho/abi/luo.h: sessions, files and file-lifecycle-bound state of the live update orchestrator.

luo-v1 (6.19 to 7.1) is an FDT that leads to arrays; luo-v5 (7.2, 7.3) a struct that leads to lists of blocks. luo-v2 to v4
existed only inside the series that made v5: v2 has the struct behind an FDT, v3 the struct alone, v4 sessions in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import construct

from khodump.abi.layout import Layout, u64

NODE_NAME: Final = "LUO"
COMPATIBLE_PREFIX: Final = "luo-v"

#: luo-v1's FDT: the nodes, and native-endian u64 properties.
SESSION_NODE: Final = "luo-session"
FLB_NODE: Final = "luo-flb"
PROP_LIVEUPDATE_NUMBER: Final = "liveupdate-number"
PROP_SESSION_HEADER: Final = "luo-session-header"
PROP_FLB_HEADER: Final = "luo-flb-header"
#: luo-v2's, which leads to a `LuoHeader`.
PROP_ABI_HEADER: Final = "luo-abi-header"


@dataclass(frozen=True, slots=True)
class LuoVersion:
    """How a version of LUO's state is written down.

    Attributes:
        name: its compatible string.
        is_struct: the blob begins with that string; an FDT otherwise.
        sessions_in_blocks, files_in_blocks: they stand in lists of blocks; in contiguous pages otherwise.
    """

    name: str
    is_struct: bool = True
    sessions_in_blocks: bool = True
    files_in_blocks: bool = True


#: Newest first: a new version is like the newest, unless told otherwise.
VERSIONS: Final = (
    LuoVersion("luo-v5"),
    LuoVersion("luo-v4", files_in_blocks=False),
    LuoVersion("luo-v3", sessions_in_blocks=False, files_in_blocks=False),
    LuoVersion("luo-v2", is_struct=False, sessions_in_blocks=False, files_in_blocks=False),
    LuoVersion("luo-v1", is_struct=False, sessions_in_blocks=False, files_in_blocks=False),
)


def luo_version(name: str) -> LuoVersion:
    """What is known of this version; one that is not known, which only an FDT can have, is like the oldest."""
    return next((version for version in VERSIONS if version.name == name), VERSIONS[-1])


#: Contiguous pages of the arrays before blocks.
SESSION_ARRAY_PAGES: Final = 16
FILE_ARRAY_PAGES: Final = 2


@dataclass(frozen=True, slots=True)
class LuoHeader:
    """What struct luo_ser holds after its compatible string: a counter, and physical addresses (0 is none yet)."""

    liveupdate_num: u64
    sessions_pa: u64
    flbs_pa: u64


LUO_HEADER: Final = Layout(LuoHeader)

#: struct luo_session_ser; `files` is a physical address.
LUO_SESSION_SER: Any = construct.Struct(
    "name" / construct.Bytes(64), "files" / construct.Int64ul, "count" / construct.Int64ul
)

#: struct luo_file_ser; `data` belongs to the handler that `compatible` names, usually a physical address.
LUO_FILE_SER: Any = construct.Struct(
    "compatible" / construct.Bytes(48), "data" / construct.Int64ul, "token" / construct.Int64ul
)

#: struct luo_flb_ser; `data` is opaque.
LUO_FLB_SER: Any = construct.Struct(
    "name" / construct.Bytes(48), "data" / construct.Int64ul, "count" / construct.Int64ul
)


@dataclass(frozen=True, slots=True)
class LuoFlbHeaderSer:
    """struct luo_flb_header_ser, no block: pages of the header, and entries that follow."""

    pgcnt: u64
    count: u64


LUO_FLB_HEADER_SER: Final = Layout(LuoFlbHeaderSer)
