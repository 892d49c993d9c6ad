"""Why a kernel refuses to show its own memory, as far as the kernel itself tells.

EACCES is the file's mode. EPERM comes from the driver: open_port() of drivers/char/mem.c and open_kcore() of fs/proc/kcore.c
want CAP_SYS_RAWIO and no lockdown; read_mem() gives it for RAM where CONFIG_STRICT_DEVMEM is set.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Levels of lockdown: from the first on /dev/mem and debugfs are refused, from the second on /proc/kcore as well.
INTEGRITY: Final = "integrity"
CONFIDENTIALITY: Final = "confidentiality"

_CAP_SYS_RAWIO: Final = 1 << 17
_CHOSEN: Final = re.compile(r"\[(\w+)\]")
_OTHERWISE: Final = "take a dump with kdump, or of a virtual machine from outside"


@dataclass(frozen=True)
class RefusalPaths:
    """Where a running kernel tells what it allows."""

    lockdown: Path = Path("/sys/kernel/security/lockdown")
    status: Path = Path("/proc/self/status")


#: Those of the running kernel.
REFUSALS: Final = RefusalPaths()


@dataclass(frozen=True)
class Refusal:
    """Why something was refused.

    Attributes:
        reason: as the end of a sentence.
        hint: what to do next.
    """

    reason: str
    hint: str


def refusal_of(number: int | None, paths: RefusalPaths, *, locked_from: str = INTEGRITY) -> Refusal | None:
    """What an errno of opening memory, or a file of debugfs, means here; None where it is no refusal.

    Args:
        number: the errno.
        paths: where the kernel tells what it allows.
        locked_from: the level of lockdown from which on this is refused.
    """
    if number == errno.EACCES:
        return Refusal("its mode does not let this user read it", "run as root")
    if number != errno.EPERM:
        return None
    level = lockdown_level(paths.lockdown)
    if level in (locked_from, CONFIDENTIALITY):
        return Refusal(
            f"the kernel is locked down ({level}), and keeps its memory even from root",
            f"{_OTHERWISE}, or boot without lockdown: it is on with Secure Boot, or by lockdown= on the command line",
        )
    if not _has_rawio(paths.status):
        return Refusal(
            "this process has not the capability CAP_SYS_RAWIO, as in most containers",
            "run as root outside of the container, or give it --cap-add SYS_RAWIO",
        )
    return Refusal("the kernel does not permit it, and does not tell why", _OTHERWISE)


def lockdown_level(path: Path) -> str | None:
    """`integrity` or `confidentiality` of a kernel that is locked down; None where it is not, or does not tell."""
    try:
        match = _CHOSEN.search(path.read_text())
    except OSError:
        return None
    return match[1] if match and match[1] != "none" else None


def _has_rawio(path: Path) -> bool:
    """Whether this process may do what CAP_SYS_RAWIO stands for; taken for granted where that is not told."""
    try:
        told = re.search(r"^CapEff:\s*([0-9a-f]+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return True
    return told is None or bool(int(told[1], 16) & _CAP_SYS_RAWIO)
