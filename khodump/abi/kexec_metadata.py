"""include/linux/kho/abi/kexec_metadata.h: which kernel handed over, and after how many kexecs (7.1 and later)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import construct

from khodump.abi.layout import Layout, u32

NODE_NAME: Final = "kexec-metadata"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class KhoKexecMetadata:
    """struct kho_kexec_metadata, packed: `previous_release` is NUL-padded, `kexec_count` 1 after a cold boot."""

    version: u32
    previous_release: Annotated[bytes, construct.Bytes(65)]
    kexec_count: u32


KHO_KEXEC_METADATA: Final = Layout(KhoKexecMetadata)
