"""What each kernel takes over: the compatible strings it demands, and the limits of its code. Newest first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from khodump.abi.kexec_handover import PROP_PRESERVED_MEMORY_MAP
from khodump.errors import UsageError, near

_CANDIDATE: Final = re.compile(r"rc(\d{1,4})")
#: The last candidate of 7.1 without d64b0372760e.
_LAST_SHALLOW_CANDIDATE: Final = 5


class WithoutMap(Enum):
    """What a kernel does with a root FDT that it takes, and that leads to no map, or to address 0."""

    #: kho_populate() looks for the map before it takes anything over (eda79a683a0a, 7.0).
    REFUSES = "refuses"
    #: kho_memory_init() of 6.19 forgets the FDT when scratch is released already, so that kho_init() releases it again.
    FREES_SCRATCH_TWICE = "frees scratch twice"
    #: kho_mem_deserialize() of 6.16 to 6.18 returns, and all goes on: users are given their data, which nobody keeps.
    KEEPS_NOTHING = "keeps nothing"


@dataclass(frozen=True)
class Kernel:
    """A kernel at the receiving end.

    Attributes:
        release: major and minor, as `7.3`.
        root: the only root compatible string it takes.
        luo: the only state of LUO it takes; None before there was LUO.
        files: compatible strings of the file handlers it has.
        small_bitmaps: reads kho-v1's bitmaps as 512 bytes, not as a page.
        wide_blocks: computes the size of a block in 64 bits (3a0b8fa2eb36, 7.2).
        max_order_scratch: aligns scratch to PAGE_SIZE << MAX_PAGE_ORDER (7.3) instead of a pageblock.
        prop: the root property that leads to its map.
        sized: the nodes of its root FDT give the sizes of their blobs (kho-v3, 7.1, on), and it refuses those that do not.
        without_map: what it does where the root FDT leads to no map.
    """

    release: str
    root: str
    luo: str | None = None
    files: tuple[str, ...] = ()
    small_bitmaps: bool = False
    wide_blocks: bool = False
    max_order_scratch: bool = False
    prop: str = PROP_PRESERVED_MEMORY_MAP
    sized: bool = True
    without_map: WithoutMap = WithoutMap.REFUSES

    @property
    def number(self) -> tuple[int, int]:
        """The release, for comparison."""
        return _number(self.release) or (0, 0)


#: memfd-v2 came in the 7.1 window; which release first had it is not known, so 7.1 is given both.
KERNELS: Final = (
    Kernel("7.3", "kho-v4", "luo-v5", ("memfd-v2",), wide_blocks=True, max_order_scratch=True),
    Kernel("7.2", "kho-v4", "luo-v5", ("memfd-v2",), wide_blocks=True),
    Kernel("7.1", "kho-v3", "luo-v1", ("memfd-v2", "memfd-v1")),
    Kernel("7.1-rc1", "kho-v2", "luo-v1", ("memfd-v2", "memfd-v1"), sized=False),
    Kernel("7.0", "kho-v1", "luo-v1", ("memfd-v1",), sized=False),
    Kernel(
        "6.19",
        "kho-v1",
        "luo-v1",
        ("memfd-v1",),
        sized=False,
        without_map=WithoutMap.FREES_SCRATCH_TWICE,
    ),
    Kernel("6.18", "kho-v1", sized=False, without_map=WithoutMap.KEEPS_NOTHING),
    Kernel("6.17", "kho-v1", small_bitmaps=True, sized=False, without_map=WithoutMap.KEEPS_NOTHING),
    Kernel("6.16", "kho-v1", small_bitmaps=True, sized=False, without_map=WithoutMap.KEEPS_NOTHING),
)


#: So many commits behind the tag of a release, at this one.
_BETWEEN_RELEASES: Final = re.compile(r"\d+\.\d+\.0-\d{5,}-g[0-9a-f]+")


def kernel_named(name: str) -> Kernel:
    """The kernel of a release (`7.3`, `7.3.4-foo`), or the newest that takes an ABI string (`kho-v4`).

    Raises:
        UsageError: khodump knows no such kernel.
    """
    by_root = next((kernel for kernel in KERNELS if kernel.root == name), None)
    found = by_root or next(iter(kernels_of(name)), None)
    if found is None:
        raise UsageError(
            f"khodump knows no kernel {name}", hint=f"{near(name, names())}it knows {', '.join(names())}"
        )
    return found


def is_sized(*roots: str | None) -> bool:
    """Whether nodes of a root FDT give the sizes of their blobs, by the first of `roots` that is a kernel's string."""
    for root in roots:
        kernels = [kernel for kernel in KERNELS if kernel.root == root]
        if kernels:
            return kernels[0].sized
    return False


def names() -> list[str]:
    """What `kernel_named` takes, newest first: ABI strings, then releases."""
    return [*dict.fromkeys(kernel.root for kernel in KERNELS), *(kernel.release for kernel in KERNELS)]


def kernels_of(release: str) -> tuple[Kernel, ...]:
    """What kernels with this `uname -r` take over; several where candidates differed, none where none is known.

    A kernel of a merge window still calls itself by the release before, as scripts/setlocalversion makes it: kho-v2 was
    only made by kernels called `7.0.0-NNNNN-gHASH`. So the next release's stand behind its own.
    """
    number = _number(release)
    own = tuple(kernel for kernel in KERNELS if kernel.number == number)
    later = [kernel.number for kernel in KERNELS if number is not None and kernel.number > number]
    if not own or not later or not _BETWEEN_RELEASES.match(release):
        return own
    return own + tuple(kernel for kernel in KERNELS if kernel.number == min(later))


def counts_marker(release: str) -> bool | None:
    """Whether a kernel that makes kho-v3 counts the order bit when it sizes its tree; None where that is not known.

    d64b0372760e, merged for 7.1-rc6, did not change the compatible string. Kernels between rc5 and rc6 may have it.
    """
    number, candidate = _number(release), _CANDIDATE.search(release)
    if number == (7, 0) and _BETWEEN_RELEASES.match(release):
        return False
    if number != (7, 1):
        return None
    if candidate is None or int(candidate[1]) > _LAST_SHALLOW_CANDIDATE:
        return True
    if int(candidate[1]) == _LAST_SHALLOW_CANDIDATE and not release.endswith(candidate[0]):
        return None
    return False


def _number(release: str) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)(?=\D|$)", release)
    return (int(match[1]), int(match[2])) if match else None
