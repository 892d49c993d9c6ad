"""ELF cores that lack a part of what they held: the same machine, of which the dump has less."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_PT_LOAD = 1
_PT_NULL = 0
_CUTS = 20


def lacking(core: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """At most `most` of the cores that lack one segment, or all from one on, or the end of the file, and what they lack.

    They are spread evenly over all of them, and are the same every time.
    """
    every = [*_without(core), *_below(core), *_cut(core)]
    step = max(-(-len(every) // most), 1)
    return iter(every[::step])


def _without(core: bytes) -> Iterator[tuple[str, bytes]]:
    for header in _loads(core):
        yield f"without {_phys(core, header):#x}", _dropped(core, [header])


def _below(core: bytes) -> Iterator[tuple[str, bytes]]:
    loads = _loads(core)
    for number, header in list(enumerate(loads))[1:]:
        yield f"only below {_phys(core, header):#x}", _dropped(core, loads[number:])


def _cut(core: bytes) -> Iterator[tuple[str, bytes]]:
    for part in range(1, _CUTS):
        size = len(core) * part // _CUTS
        yield f"cut to {size} bytes", core[:size]


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
