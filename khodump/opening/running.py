"""What the kernel that runs in an image says of its own handovers: asked once, and only when somebody wants to know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

from khodump.errors import NoHandoverError
from khodump.kernel import HandoverPlaces, Kernel, Told, WhyNot, handover_places, live_luo, open_kernel
from khodump.kernel.living import Living, open_living
from khodump.kernel.proc_kallsyms import ProcKallsyms
from khodump.memory import Hole, PhysicalMemory
from khodump.opening.boot import MAX_DEVICETREE, NOTHING_TOLD, BootInfo, from_boot_params, from_devicetree
from khodump.opening.candidates import Candidate, Options, weigh
from khodump.opening.locate import RootFdt, at_address, read_blob
from khodump.opening.scratch import Scratch

_BOOT_PARAMS = "boot_params"
#: Of drivers/of/fdt.c: the machine's device tree by its physical address, in kernels that keep it, and by a pointer.
_DEVICETREE_PA, _DEVICETREE = "initial_boot_params_pa", "initial_boot_params"


class Role(Enum):
    """What a handover is to the kernel that runs in the image."""

    OUTGOING = "the one that it prepares"
    INCOMING = "the one that it received"
    UNTOLD = "neither, or not known"


@dataclass(frozen=True, eq=False)
class Running:
    """The kernel that runs in an image.

    Attributes:
        memory: the image.
        proc_kallsyms: /proc/kallsyms of this kernel, where it is the one that khodump runs on.
    """

    memory: PhysicalMemory
    proc_kallsyms: Path | None = None

    @cached_property
    def kernel(self) -> Kernel | WhyNot:
        """The kernel, or why it cannot be asked."""
        return open_kernel(self.memory, proc_kallsyms=self.proc_kallsyms)

    @property
    def needs_proc_kallsyms(self) -> bool:
        """Whether the kernel could be asked only by what it shows of its symbols, which is not in its memory's image."""
        return not isinstance(self.kernel, WhyNot) and isinstance(self.kernel.symbols, ProcKallsyms)

    @cached_property
    def places(self) -> HandoverPlaces | WhyNot:
        """Where its variables say that its handovers are."""
        return self.kernel if isinstance(self.kernel, WhyNot) else handover_places(self.kernel)

    @cached_property
    def living(self) -> Living | WhyNot:
        """LUO's sessions in its lists."""
        if isinstance(self.kernel, WhyNot):
            return self.kernel
        luo = live_luo(self.kernel)
        return luo if isinstance(luo, WhyNot) else open_living(self.kernel, luo)

    @property
    def outgoing(self) -> Told | WhyNot:
        """What leads to the root FDT that it prepares."""
        return self.places if isinstance(self.places, WhyNot) else self.places.outgoing

    @property
    def incoming(self) -> Told | WhyNot:
        """What leads to the root FDT that it received."""
        return self.places if isinstance(self.places, WhyNot) else self.places.incoming

    @property
    def scratch(self) -> Scratch | None:
        """The scratch regions that it uses; None where it does not tell of any."""
        if isinstance(self.places, WhyNot) or isinstance(self.places.scratch, WhyNot):
            return None
        told = self.places.scratch
        return Scratch(told.regions, told.phys) if told.regions else None

    @property
    def lacks_scratch(self) -> str | None:
        """Why the scratch regions that it uses are not known; None where it should not tell of them."""
        lack = self.places if isinstance(self.places, WhyNot) else self.places.scratch
        if not isinstance(lack, WhyNot) or (lack is self.places and not lack.is_loss):
            return None
        return lack.message

    def lost_lists(self, role: Role) -> WhyNot | None:
        """Why LUO's lists cannot be read, or not be told to be those of a handover, though this kernel should have them.

        None where nothing is lost, as in a kernel that does not describe its structures.
        """
        steps: list[object] = [self.kernel, self.living]
        if role is Role.UNTOLD:
            steps += [self.outgoing, self.incoming]
        return next((step for step in steps if isinstance(step, WhyNot) and step.is_loss), None)

    def role_of(self, root: RootFdt) -> Role:
        """What the handover of a root FDT is to it; one that was read from a file is known by its bytes."""
        for pointer, role in ((self.outgoing, Role.OUTGOING), (self.incoming, Role.INCOMING)):
            if not isinstance(pointer, WhyNot) and pointer.phys and self._is(root, pointer.phys):
                return role
        return Role.UNTOLD

    def _is(self, root: RootFdt, phys: int) -> bool:
        if root.phys is not None:
            return root.phys == phys
        return self.memory.read(phys, len(root.blob)) == root.blob

    def candidates(self, options: Options) -> tuple[Candidate, ...]:
        """The root FDTs that its variables lead to, weighed; the one that it prepares comes first."""
        pointers = (self.outgoing, self.incoming)
        places = [each.phys for each in pointers if not isinstance(each, WhyNot) and each.phys]
        weighed = (self._weighed(phys, options) for phys in places)
        return tuple(candidate for candidate in weighed if candidate is not None)

    def _weighed(self, phys: int, options: Options) -> Candidate | None:
        try:
            return weigh(self.memory, at_address(self.memory, phys), options)
        except NoHandoverError:
            return None

    @cached_property
    def boot(self) -> BootInfo:
        """What the boot protocol told it."""
        if self.boot_params is not None:
            return from_boot_params(self.memory, self.boot_params)
        place = self._devicetree_place
        blob = None if place is None else read_blob(self.memory, place, MAX_DEVICETREE)
        if place is None or blob is None or isinstance(blob, Hole):
            return NOTHING_TOLD
        return from_devicetree(blob, place)

    @cached_property
    def boot_params(self) -> int | None:
        """The physical address of x86's boot_params; None on other machines, or where it is not told."""
        if isinstance(self.kernel, WhyNot):
            return None
        place = self.kernel.symbol_phys(_BOOT_PARAMS)
        return None if isinstance(place, WhyNot) else place

    @property
    def _devicetree_place(self) -> int | None:
        """The physical address of the device tree; arm64 maps it, so that its pointer is no address of the direct map."""
        if isinstance(self.kernel, WhyNot):
            return None
        phys = self.kernel.variable(_DEVICETREE_PA, 8)
        if not isinstance(phys, WhyNot):
            return phys or None
        pointer = self.kernel.variable(_DEVICETREE, 8)
        if isinstance(pointer, WhyNot) or not pointer:
            return None
        place = self.kernel.memory.phys(pointer)
        return None if isinstance(place, WhyNot) else place
