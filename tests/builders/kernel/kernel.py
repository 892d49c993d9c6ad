"""A running kernel in the making: its image, its symbols, its types, and what it allocated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from khodump.abi.kexec_handover import KHO_SCRATCH, KhoScratch
from khodump.memory import PhysicalMemory
from tests.builders.kernel.machine import X86, Arm64, Machine
from tests.builders.kernel.structs import STRUCTS
from tests.builders.kernel.symbols import Encoding, build_tables
from tests.builders.kernel.types import BtfWriter, Structs, Types
from tests.builders.memory import MemoryImage, opened

_MIB = 1 << 20
#: Other symbols, so that names are to be found among others: some of them contain those that are looked for.
FILLERS = ("a", "_kho_out", "kho_outer", "xkho_in", "kho_in_debugfs", "R" * 300, "luo_session_globals")


def x86(**shape: Any) -> Machine:
    """An x86-64 machine with 16 MiB of RAM from 1 GiB on, its kernel's image in the first of them."""
    image = MemoryImage(0x4040_0000, 0x4100_0000)
    return X86(image, 0x4000_0000, 4 * _MIB, (0x4000_0000, 0x4100_0000), **shape)


def arm64(granule: int = 4096, **shape: Any) -> Machine:
    """An arm64 machine with 32 MiB of RAM from 1 GiB on."""
    image = MemoryImage(0x4040_0000, 0x4200_0000)
    ram = (0x4000_0000, 0x4200_0000)
    return Arm64(image, 0x4000_0000, 4 * _MIB, ram, granule=granule, **shape)


@dataclass
class BuiltKernel:
    """One kernel; what it lacks can be taken from it before `opened`.

    Attributes:
        machine: where it runs.
        structs: its structures, or None for a kernel without BTF.
        encoding: of its symbols' addresses.
        symbols: their virtual addresses.
        omitted: symbols that its tables do not have.
        told: lines of VMCOREINFO that replace others.
        btf: bytes that replace those that are written of `structs`.
    """

    machine: Machine
    structs: Structs = field(default_factory=lambda: STRUCTS)
    encoding: Encoding = Encoding.PLACE
    symbols: dict[str, int] = field(default_factory=dict)
    omitted: set[str] = field(default_factory=set)
    told: dict[str, str | None] = field(default_factory=dict)
    btf: bytes | None = None
    has_btf: bool = True
    num_syms: int | None = None

    def __post_init__(self) -> None:
        self.types = Types(self.structs)
        self.image = self.machine.image
        self._next = self.machine.text
        root = self._room(self.machine.page_size, self.machine.page_size)
        self.machine.build_tables(root)
        self.symbols |= {"_text": self.machine.symbol(self.machine.text)}
        self.symbols |= {"_stext": self.symbols["_text"], "kho_init": self.symbols["_text"] + 0x100}
        self.variable("init_uts_ns", bytes(8))
        if isinstance(self.machine, X86):
            self.variable("page_offset_base", self.machine.page_offset.to_bytes(8, "little"))

    def _room(self, size: int, align: int = 64) -> int:
        """Physical bytes in the kernel's image."""
        phys = -(-self._next // align) * align
        self._next = phys + size
        assert self._next <= self.machine.text + self.machine.image_size
        self.image.write(phys, bytes(size))
        return phys

    def variable(self, name: str, data: bytes) -> int:
        """A variable in the kernel's image; its virtual address."""
        phys = self._room(len(data))
        self.image.write(phys, data)
        self.symbols[name] = self.machine.symbol(phys)
        return self.symbols[name]

    def static(self, name: str, **values: int | bytes) -> int:
        """A variable that has the name of its struct; paths are written with two underscores for the dot."""
        packed = {path.replace("__", "."): value for path, value in values.items()}
        return self.variable(name, self.types.pack(name, packed))

    def object(self, data: bytes) -> int:
        """An allocated object; its virtual address."""
        phys = self.image.alloc_page(max(64, -(-len(data) // 64) * 64), 64)
        self.image.write(phys, data)
        return self.machine.direct(phys)

    def poke(self, va: int, data: bytes) -> None:
        """Write to an object or a variable."""
        self.image.write(self.phys(va), data)

    def phys(self, va: int) -> int:
        """Where an object or a variable is."""
        for phys in (self.machine.text, self.machine.ram[0]):
            for place in (self.machine.symbol, self.machine.direct):
                distance = va - place(phys)
                if 0 <= distance < self.machine.ram[1] - self.machine.ram[0]:
                    return phys + distance
        raise ValueError(f"{va:#x} is nowhere")

    def finish(self) -> dict[str, str]:
        """Write the tables of symbols and types; returns the lines of VMCOREINFO."""
        if self.has_btf:
            data = self.btf if self.btf is not None else BtfWriter(self.types).build()
            start = self._room(len(data), 4096)
            self.image.write(start, data)
            self.symbols["__start_BTF"] = self.machine.symbol(start)
            self.symbols["__stop_BTF"] = self.symbols["__start_BTF"] + len(data)
        for number, filler in enumerate(FILLERS):
            self.symbols[filler] = self.symbols["_text"] + 0x1000 + number
        self.symbols["_end"] = self.symbols["_text"] + self.machine.image_size
        lines = self.machine.vmcoreinfo() | self._write_symbols()
        lines |= {
            "OSRELEASE": "7.3.4-built",
            "PAGESIZE": str(self.machine.page_size),
            "SYMBOL(_stext)": f"{self.symbols['_stext']:x}",
            "SYMBOL(init_uts_ns)": f"{self.symbols['init_uts_ns']:x}",
            "SIZE(page)": "64",
        }
        lines |= {key: value for key, value in self.told.items() if value is not None}
        return {key: value for key, value in lines.items() if self.told.get(key, "") is not None}

    def _write_symbols(self) -> dict[str, str]:
        named = {name: va for name, va in self.symbols.items() if name not in self.omitted}
        tables = build_tables(named, self.encoding)
        number = tables.num_syms if self.num_syms is None else self.num_syms.to_bytes(4, "little")
        places: dict[str, int] = {}
        for name, data in (
            ("num_syms", number),
            ("names", tables.names),
            ("token_table", tables.token_table),
            ("token_index", tables.token_index),
            ("offsets", bytes(4 * len(named))),
        ):
            places[name] = self._room(len(data))
            self.image.write(places[name], data)
        offsets = tables.offsets(self.machine.symbol(places["offsets"]))
        self.image.write(places["offsets"], offsets)
        if tables.base is not None:
            places["relative_base"] = self._room(8)
            self.image.write(places["relative_base"], tables.base.to_bytes(8, "little"))
        return {f"SYMBOL(kallsyms_{name})": f"{self.machine.symbol(phys):x}" for name, phys in places.items()}

    @contextmanager
    def opened(self) -> Iterator[PhysicalMemory]:
        """Its memory as khodump reads it from an ELF core with VMCOREINFO."""
        lines: Mapping[str, str] = self.finish()
        with opened(self.image, machine=self.machine.elf_machine, vmcoreinfo=lines) as memory:
            yield memory


#: What a root FDT begins with; the rest is of no interest here.
FDT = bytes.fromhex("d00dfeed") + bytes(60)


def handing_over(machine: Machine, **shape: Any) -> tuple[BuiltKernel, int]:
    """A kernel with a root FDT, and where that is; two scratch regions, one of them empty, as on arm64 with 64K pages."""
    kernel = BuiltKernel(machine, **shape)
    fdt = kernel.image.alloc_page(machine.page_size)
    kernel.image.write(fdt, FDT)
    if "fdt" in dict(kernel.structs["kho_out"]):
        kernel.static("kho_out", fdt=machine.direct(fdt))
    kernel.static("kho_in", fdt_phys=0x1234000, scratch_phys=0x5678000)
    regions = (KhoScratch(0x7000_0000, 0x100_0000), KhoScratch(0x1_A000_0000, 0))
    table = kernel.object(b"".join(KHO_SCRATCH.build(region) for region in regions))
    kernel.variable("kho_scratch", table.to_bytes(8, "little"))
    kernel.variable("kho_scratch_cnt", len(regions).to_bytes(4, "little"))
    return kernel, fdt
