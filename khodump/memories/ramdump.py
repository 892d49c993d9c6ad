"""crash's way to name several raw images: `FILE@ADDRESS,FILE@ADDRESS` in one argument, addresses in hex."""

from __future__ import annotations

import re
from typing import Final

from khodump.errors import UsageError

_PLACED: Final = r"[^,]+@(?:0[xX])?[0-9a-fA-F]+"
_SEVERAL: Final = re.compile(rf"{_PLACED}(?:,{_PLACED})+")


def refuse(name: str) -> None:
    """Raise if `name` is several images in crash's form.

    It is not read: an address without 0x is hex to crash, and decimal in khodump's own `FILE@BASE`.

    Raises:
        UsageError: it is; the hint names the images as khodump takes them.
    """
    if not _SEVERAL.fullmatch(name):
        return
    placed = [part.rpartition("@") for part in name.split(",")]
    arguments = " ".join(f"{file}@{int(address, 16):#x}" for file, _, address in placed)
    raise UsageError(
        f"{name} names {len(placed)} images in one argument, as crash takes them",
        hint=f"give each an argument of its own: {arguments}",
    )
