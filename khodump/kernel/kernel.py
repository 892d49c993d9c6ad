"""The running kernel in an image: its symbols, its types, its memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from khodump.kernel.btf import Btf, parse_btf
from khodump.kernel.kallsyms import Symbols
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.virtual import VirtualMemory
from khodump.kernel.vmcoreinfo import Vmcoreinfo

#: Five times that of a distribution's kernel.
_MOST_BTF: Final = 32 << 20


@dataclass(frozen=True, eq=False)
class Kernel:
    """One running kernel. Nothing here raises because of what the image holds.

    Attributes:
        info: its VMCOREINFO.
        memory: its memory, by virtual address.
        symbols: its symbols.
        page_size: in bytes.
    """

    info: Vmcoreinfo
    memory: VirtualMemory
    symbols: Symbols
    page_size: int

    def symbol(self, name: str) -> int | WhyNot:
        """The virtual address of a symbol."""
        addresses = self.symbols.addresses(name)
        if isinstance(addresses, WhyNot):
            return addresses
        if len(addresses) > 1:
            message = f"this kernel has {len(addresses)} symbols {name}, and which is meant is not known"
            return WhyNot(Reason.AMBIGUOUS, message)
        if not addresses:
            return WhyNot(Reason.NO_SYMBOL, f"this kernel has no symbol {name}")
        return addresses[0]

    def symbol_phys(self, name: str) -> int | WhyNot:
        """The physical address of a symbol of the kernel's image."""
        va = self.symbol(name)
        if isinstance(va, WhyNot):
            return va
        mapping = self.memory.space.of_symbol(va)
        return mapping if isinstance(mapping, WhyNot) else mapping.phys

    def variable(self, name: str, size: int) -> int | WhyNot:
        """The value of a variable of `size` bytes, unsigned."""
        va = self.symbol(name)
        if isinstance(va, WhyNot):
            return va
        data = self.memory.symbol_bytes(va, size)
        if isinstance(data, WhyNot):
            return data.within(f"the variable {name}")
        return int.from_bytes(data, "little")

    @cached_property
    def btf(self) -> Btf | WhyNot:
        """The types that this kernel describes."""
        start, stop = self.symbol("__start_BTF"), self.symbol("__stop_BTF")
        if isinstance(start, WhyNot) or isinstance(stop, WhyNot):
            message = "this kernel does not describe its structures (CONFIG_DEBUG_INFO_BTF)"
            return WhyNot(Reason.NO_BTF, message)
        size = stop - start
        if not 0 < size <= _MOST_BTF:
            return WhyNot(
                Reason.DAMAGED, f"the kernel's BTF has {size} bytes by its symbols, which cannot be"
            )
        data = self.memory.symbol_bytes(start, size)
        return data.within("the kernel's BTF") if isinstance(data, WhyNot) else parse_btf(data)
