"""ELF cores that lack a part of what they held: the same machine, of which the dump has less."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial

_PT_LOAD = 1
_PT_NULL = 0
_CUTS = 20


#: What a core lacks, and how to make it; made one at a time, for together they may be a GiB.
Lacking = tuple[str, Callable[[], bytes]]


def lacking(core: bytes, most: int | None = None) -> list[Lacking]:
    """The cores that lack one segment, all from one on, or the end of the file; of many, `most`, spread evenly over all.

    They are the same every time.
    """
    every = [*_without(core), *_below(core), *_cut(core)]
    step = 1 if most is None else max(-(-len(every) // most), 1)
    return every[::step]


def _without(core: bytes) -> Iterator[Lacking]:
    for header in _loads(core):
        yield f"without {_phys(core, header):#x}", partial(_dropped, core, [header])


def _below(core: bytes) -> Iterator[Lacking]:
    loads = _loads(core)
    for number, header in list(enumerate(loads))[1:]:
        yield f"only below {_phys(core, header):#x}", partial(_dropped, core, loads[number:])


def _cut(core: bytes) -> Iterator[Lacking]:
    """At 20 places, the last of which is not the end of the file."""
    for part in range(1, _CUTS + 1):
        size = len(core) * part // (_CUTS + 1)
        yield f"cut to {size} bytes", partial(_beginning, core, size)


def _beginning(core: bytes, size: int) -> bytes:
    return core[:size]


def _loads(core: bytes) -> list[int]:
    """Where the headers of its segments are, by ascending physical address."""
    (first,) = struct.unpack_from("<Q", core, 32)
    size, count = struct.unpack_from("<HH", core, 54)
    headers = [first + size * number for number in range(count)]
    loads = [header for header in headers if struct.unpack_from("<I", core, header) == (_PT_LOAD,)]
    return sorted(loads, key=lambda header: _phys(core, header))


def _phys(core: bytes, header: int) -> int:
    (phys,) = struct.unpack_from("<Q", core, header + 24)
    return int(phys)


def _dropped(core: bytes, headers: list[int]) -> bytes:
    """With these headers made ones of no segment."""
    lacking = bytearray(core)
    for header in headers:
        struct.pack_into("<I", lacking, header, _PT_NULL)
    return bytes(lacking)
