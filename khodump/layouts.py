"""Layouts of raw memory files: which stretch of the file holds which physical memory.

A raw file has no headers. It may be one stretch, from physical 0 or from where RAM begins; or several laid end to end,
with the holes between them squeezed out, as QEMU's memory backends, VMware's .vmem and Firecracker's snapshots are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from khodump.numbers import format_size
from khodump.rounding import round_up

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_4_GIB: Final = 4 * _GIB

#: Where the RAM of x86 guests stops below 4 GiB, the most usual first: QEMU (3 or 2 GiB; 2.75 and 3.5 if it all fits
#: below), VMware and Cloud Hypervisor (3), Firecracker and crosvm (3.25), VirtualBox (3.5), Xen (3.75), Hyper-V (3.875).
_HOLE_STARTS: Final = tuple(int(gib * _GIB) for gib in (3, 2, 3.25, 3.5, 2.75, 3.75, 3.875, 2.5))
#: The least memory of which part may lie elsewhere than its offset in the file says.
SMALLEST_HOLE: Final = min(_HOLE_STARTS)
#: QEMU moves all RAM above 4 GiB there when it would reach the HyperTransport hole of AMD's processors.
_AMD_RELOCATED: Final = 1 << 40
_AMD_HOLE: Final = 0xFD_0000_0000

#: Where RAM of other machines begins, the most usual first: QEMU's virt and AWS's Graviton (1 GiB); Firecracker on
#: arm64, Arm's own boards and NXP's (2 GiB); some SoCs (512 MiB, 4 GiB); AMD Seattle and Ampere (512 GiB), and others.
_BASES: Final = (
    0x4000_0000,
    0x8000_0000,
    0x2000_0000,
    0x1000_0000,
    0x1_0000_0000,
    0x8_0000_0000,
    0x80_0000_0000,
    0x400_0000_0000,
)
#: (base, size of the first bank, base of the second): Arm's boards and NXP's, then NXP's LX2160A.
_BANKS: Final = (
    (0x8000_0000, 0x8000_0000, 0x8_8000_0000),
    (0x8000_0000, 0x8000_0000, 0x20_8000_0000),
    (0x8000_0000, 0x7B00_0000, 0x8_8000_0000),
)
#: To what the edges of stretches may be rounded, where firmware keeps a part of each.
_ROUNDINGS: Final = tuple(1 << shift for shift in (16, 20, 21, 24, 26, 27, 28, 29, 30))


#: How much of the end of RAM firmware may keep without a line for it.
_MOST_UNSAID: Final = 1 << 28


class Stretch(NamedTuple):
    """Bytes of a file in a row: `size` bytes from file offset `offset` are the memory from `phys`."""

    offset: int
    phys: int
    size: int

    @property
    def end(self) -> int:
        """The first physical address behind it."""
        return self.phys + self.size

    @property
    def delta(self) -> int:
        """What is added to a file offset to give a physical address; negative behind a header."""
        return self.phys - self.offset


@dataclass(frozen=True)
class Layout:
    """A way to read a raw file.

    Attributes:
        name: what it is, as the end of "the file holds ...".
        stretches: by ascending offset and address; bytes of the file outside them are of no known address.
        cut: physical (start, end) of what it lacks, because the file ends before.
        is_literal: whether it is what a machine's RAM was said to be, nothing rounded or added.
    """

    name: str
    stretches: tuple[Stretch, ...]
    cut: tuple[tuple[int, int], ...] = ()
    is_literal: bool = False

    def phys(self, offset: int) -> int | None:
        """The physical address of the byte at a file offset."""
        for stretch in self.stretches:
            if stretch.offset <= offset < stretch.offset + stretch.size:
                return offset + stretch.delta
        return None

    def delta_at(self, phys: int) -> int | None:
        """How far the memory at `phys` is from its place in the file; None where there is none."""
        for stretch in self.stretches:
            if stretch.phys <= phys < stretch.end:
                return stretch.delta
        return None

    def __str__(self) -> str:
        return ", ".join(
            f"{stretch.phys:#x}-{stretch.end:#x} at offset {stretch.offset:#x}" for stretch in self.stretches
        )


@dataclass(frozen=True)
class RamMap:
    """The memory of a machine, as it was told to its kernel.

    Attributes:
        ram: memory that the kernel may use, as physical bytes (start, end exclusive), sorted, without overlaps.
        reserved: what firmware keeps of it, or of the address space; sorted.
        source: where that is written, for a person.
    """

    ram: tuple[tuple[int, int], ...]
    reserved: tuple[tuple[int, int], ...]
    source: str

    @property
    def end(self) -> int:
        """The first physical address above all RAM."""
        return self.ram[-1][1]

    def holds(self, phys: int) -> bool:
        """Whether there is RAM at `phys`."""
        return any(start <= phys < end for start, end in self.ram)


def one_stretch(size: int, base: int = 0) -> Layout:
    """The whole file in a row from `base`."""
    name = "memory from physical 0, in a row" if base == 0 else f"memory in a row from {base:#x}"
    return Layout(name, (Stretch(0, base, size),))


def behind_header(size: int, header: int) -> Layout:
    """Memory from physical 0 behind a header of some other format."""
    return Layout(
        f"{header} bytes of something else, then memory from 0", (Stretch(header, 0, size - header),)
    )


def in_a_row(name: str, spans: Iterable[tuple[int, int]], size: int) -> Layout:
    """The (start, end) spans one after the other, as far as a file of `size` bytes goes."""
    stretches: list[Stretch] = []
    cut: list[tuple[int, int]] = []
    offset = 0
    for start, end in spans:
        held = min(end - start, size - offset)
        if held:
            stretches.append(Stretch(offset, start, held))
        if start + held < end:
            cut.append((start + held, end))
        offset += held
    return Layout(name, tuple(stretches), tuple(cut))


def usual(size: int) -> Iterator[Layout]:
    """The layouts that machines and the tools that dump them usually give a file of this size, the most usual first."""
    yield one_stretch(size)
    for start in _HOLE_STARTS:
        if size > start:
            name = f"RAM with the hole from {format_size(start)} to 4 GiB squeezed out"
            yield in_a_row(name, ((0, start), (_4_GIB, _4_GIB + size - start)), size)
    if size > _AMD_HOLE - _4_GIB:
        for start in _HOLE_STARTS[:2]:
            name = f"RAM with the hole from {format_size(start)} to 1 TiB squeezed out"
            yield in_a_row(name, ((0, start), (_AMD_RELOCATED, _AMD_RELOCATED + size - start)), size)
    for base in _BASES:
        yield one_stretch(size, base)
    for base, first, second in _BANKS:
        if size > first:
            name = f"banks of RAM from {base:#x} and {second:#x}, one after the other"
            yield in_a_row(name, ((base, base + first), (second, second + size - first)), size)


def fitting(ram: RamMap, size: int) -> list[Layout]:
    """The ways to lay out this machine's RAM that add up to a file of `size` bytes; the simplest first."""
    layouts = [layout for layout in _readings(ram, size) if not layout.cut and _held(layout) == size]
    return _distinct([*layouts, *_with_more(ram, size)])


def cut_short(ram: RamMap, size: int) -> list[Layout]:
    """The ways to lay it out in a file that lost its end, the simplest first; none if the file is larger than all."""
    return _distinct([layout for layout in _readings(ram, size) if layout.cut])


def _held(layout: Layout) -> int:
    return sum(stretch.size for stretch in layout.stretches)


def _distinct(layouts: Sequence[Layout]) -> list[Layout]:
    """The layouts without those that put the same bytes in the same places as one before."""
    distinct = {layout.stretches: layout for layout in reversed(layouts)}
    return list(distinct.values())[::-1]


def _readings(ram: RamMap, size: int) -> Iterator[Layout]:
    """What a file of this machine's memory may hold: RAM is seldom all, for the files hold what firmware keeps of it."""
    alone = in_a_row(f"the RAM of {ram.source}", ram.ram, size)
    yield replace(alone, is_literal=True)
    kept = in_a_row(f"the RAM of {ram.source} and what firmware reserves of it", _with_reserved(ram), size)
    yield replace(kept, is_literal=bool(ram.reserved))
    for rounding in _ROUNDINGS:
        ends = [(start, round_up(end, rounding)) for start, end in ram.ram]
        both = [(start // rounding * rounding, end) for start, end in ends]
        for spans in (both, ends):
            name = f"the RAM of {ram.source}, each stretch rounded out to {format_size(rounding)}"
            yield in_a_row(name, joined(spans), size)
    for start, name in ((ram.ram[0][0], "its first byte"), (0, "physical 0")):
        yield in_a_row(
            f"all memory from {name} to the end of the RAM of {ram.source}", ((start, ram.end),), size
        )


def _with_more(ram: RamMap, size: int) -> Iterator[Layout]:
    """One stretch of RAM that goes on a little behind what was said of it, where firmware keeps the end unsaid."""
    start, end = ram.ram[0]
    if len(ram.ram) == 1 and end - start < size <= end - start + _MOST_UNSAID:
        yield in_a_row(f"the RAM of {ram.source}, and what lies behind it", ((start, start + size),), size)


def _with_reserved(ram: RamMap) -> list[tuple[int, int]]:
    """RAM, grown by what is reserved right behind it, and by all below 1 MiB.

    Firmware takes its own from the top of RAM. What is reserved right *below* RAM is often no RAM: flash below 4 GiB.
    """
    low = [(0, _MIB)] if ram.ram[0][0] < _MIB < ram.end else []
    spans = [(start, end, True) for start, end in (*low, *ram.ram)]
    spans += [(start, end, False) for start, end in ram.reserved]
    grown: list[tuple[int, int]] = []
    for start, end, is_ram in sorted(spans):
        if grown and start <= grown[-1][1]:
            grown[-1] = (grown[-1][0], max(grown[-1][1], end))
        elif is_ram:
            grown.append((start, end))
    return grown


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted (start, end) spans, with those made one that touch or overlap."""
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
