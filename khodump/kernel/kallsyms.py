"""The kernel's table of its own symbols, in its memory: names to virtual addresses (kernel/kallsyms.c).

VMCOREINFO has led to it since 6.0. With CONFIG_KALLSYMS_ALL it names variables, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from khodump.abi.kallsyms import KALLSYMS_TOKENS, KSYM_NAME_LEN, NUM_SYMS, OFFSET, RELATIVE_BASE, TOKEN_INDEX
from khodump.abi.layout import dtype_of
from khodump.columns.arrays import I64
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.names import Names, expand
from khodump.kernel.virtual import VirtualMemory
from khodump.kernel.vmcoreinfo import Vmcoreinfo

_ALL_BITS: Final = (1 << 64) - 1
_TABLES: Final = ("names", "num_syms", "token_table", "token_index", "offsets")
#: Four times what the names of a kernel with 200,000 symbols take.
_MOST_STREAM: Final = 8 << 20
#: What VMCOREINFO gives the value of, and not the address.
_VALUES: Final = ("vmemmap", "mem_section")


class Symbols(Protocol):
    """Whoever knows the addresses of symbols."""

    def addresses(self, name: str) -> list[int] | WhyNot:
        """The virtual addresses of all symbols of this name, each once."""
        ...


#: From the place of an entry and its 32 bits to an address.
Encoding = Callable[[int, int], int]


@dataclass(frozen=True)
class Kallsyms:
    """The table of one kernel.

    Attributes:
        memory: the kernel's memory.
        names: all names.
        offsets: virtual address of kallsyms_offsets.
        encoding: what an entry there means.
    """

    memory: VirtualMemory
    names: Names
    offsets: int
    encoding: Encoding

    def addresses(self, name: str) -> list[int] | WhyNot:
        """See `Symbols.addresses`."""
        addresses: dict[int, None] = {}
        for number in self.names.numbers(name):
            place = self.offsets + number * OFFSET.sizeof()
            entry = _number(self.memory, place, OFFSET)
            if isinstance(entry, WhyNot):
                return entry.within(f"the address of the symbol {name}")
            addresses[self.encoding(place, entry)] = None
        return list(addresses)


def read_kallsyms(info: Vmcoreinfo, memory: VirtualMemory) -> Kallsyms | WhyNot:
    """The table that VMCOREINFO leads to."""
    places = {table: info.symbol(f"kallsyms_{table}") or 0 for table in _TABLES}
    if not all(places.values()):
        message = "VMCOREINFO does not lead to the kernel's symbols (kernels before 6.0, or without CONFIG_KALLSYMS)"
        return WhyNot(Reason.NO_KALLSYMS, message)
    names = _names(memory, places)
    if isinstance(names, WhyNot):
        return names.within("the kernel's table of symbols")
    encodings = _encodings(info, memory)
    if isinstance(encodings, WhyNot):
        return encodings.within("the kernel's table of symbols")
    return _confirmed(info, [Kallsyms(memory, names, places["offsets"], encoding) for encoding in encodings])


def _names(memory: VirtualMemory, places: dict[str, int]) -> Names | WhyNot:
    count = _number(memory, places["num_syms"], NUM_SYMS)
    if isinstance(count, WhyNot):
        return count
    index_bytes = memory.symbol_bytes(places["token_index"], KALLSYMS_TOKENS * TOKEN_INDEX.sizeof())
    if isinstance(index_bytes, WhyNot):
        return index_bytes
    index = np.frombuffer(index_bytes, dtype_of(TOKEN_INDEX)).astype(np.int64)
    table = _token_table(memory, places["token_table"], index)
    if isinstance(table, WhyNot):
        return table
    size = _room(places, count)
    if isinstance(size, WhyNot):
        return size
    stream, missing = memory.symbol_bytes_until(places["names"], size)
    names = expand(stream, count, table, index)
    return missing if isinstance(names, WhyNot) and missing is not None else names


def _token_table(memory: VirtualMemory, place: int, index: I64) -> bytes | WhyNot:
    """The tokens, to the end of the last one, and with its NUL."""
    last = int(index.max())
    table, missing = memory.symbol_bytes_until(place, last + KSYM_NAME_LEN)
    end = table.find(b"\0", last)
    if end >= 0:
        return table[: end + 1]
    return missing or WhyNot(Reason.DAMAGED, "a token of the kernel's symbol names has no end")


def _room(places: dict[str, int], count: int) -> int | WhyNot:
    """The most bytes that the names can take: up to the table that follows, for nothing says how many they are."""
    start = places["names"]
    limit = min((place for place in places.values() if place > start), default=start + _MOST_STREAM)
    size = min(limit - start, _MOST_STREAM)
    if not 0 < 2 * count <= size:  # a length and a token each
        return WhyNot(Reason.DAMAGED, f"it counts {count} symbols, whose names are to fit in {size} bytes")
    return size


def _encodings(info: Vmcoreinfo, memory: VirtualMemory) -> list[Encoding] | WhyNot:
    """What an entry of kallsyms_offsets may mean; whether there is a base decides, not the release."""
    place = info.symbol("kallsyms_relative_base")
    if place is None:
        return [place_relative]
    base = _number(memory, place, RELATIVE_BASE)
    if isinstance(base, WhyNot):
        return base

    def from_base(_: int, entry: int) -> int:
        return base + entry & _ALL_BITS

    def from_base_or_percpu(_: int, entry: int) -> int:
        """CONFIG_KALLSYMS_ABSOLUTE_PERCPU, before 6.15 on x86 with SMP: what is not negative is no offset."""
        value = _signed(entry)
        return value if value >= 0 else base - 1 - value & _ALL_BITS

    return [from_base, from_base_or_percpu]


def place_relative(place: int, entry: int) -> int:
    """Relative to the entry's own place, since the commit "kallsyms: Get rid of kallsyms relative base"."""
    return place + _signed(entry) & _ALL_BITS


def _confirmed(info: Vmcoreinfo, readings: list[Kallsyms]) -> Kallsyms | WhyNot:
    """The reading that VMCOREINFO confirms."""
    wrong = contradiction(info, readings[0])
    if wrong is None:
        return readings[0]
    others = (reading for reading in readings[1:] if contradiction(info, reading) is None)
    return next(others, wrong)


def contradiction(info: Vmcoreinfo, symbols: Symbols) -> WhyNot | None:
    """What VMCOREINFO, which has the addresses of some symbols itself, says otherwise than these symbols.

    They are spread over the whole kernel, so that a name that was lost or made up by damage shows, too: all names after it
    would have the addresses of others.
    """
    for name, va in info.symbols.items():
        if _contradicts(symbols, name, va):
            message = f"the kernel's table of symbols gives {name} another address than VMCOREINFO, which says {va:#x}"
            return WhyNot(Reason.CONTRADICTED, message)
    return None


def _contradicts(symbols: Symbols, name: str, va: int) -> bool:
    """Whether the table has this symbol of VMCOREINFO's at another address."""
    if name in _VALUES:
        return False
    addresses = symbols.addresses(name)
    return not isinstance(addresses, WhyNot) and bool(addresses) and va not in addresses


def _number(memory: VirtualMemory, place: int, schema: Any) -> int | WhyNot:  # noqa: ANN401 - construct is untyped
    data = memory.symbol_bytes(place, schema.sizeof())
    return data if isinstance(data, WhyNot) else int(schema.parse(data))


def _signed(entry: int) -> int:
    return entry - (1 << 32) if entry >> 31 else entry
