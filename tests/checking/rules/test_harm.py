"""What damage does to each owner: only what LUO cannot start without panics the next kernel."""

from __future__ import annotations

import pytest

from khodump.abi.kernels import kernel_named
from khodump.abi.luo import luo_version
from khodump.api import open_leniently
from khodump.checking.case import Case
from khodump.checking.harm import harm
from khodump.checking.rule import Effect
from khodump.subtrees.luo_state import FLBS_OWNER
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.users import Memblock, ReserveMem
from tests.checking.rules.breaking import MEMFD, handed_over

USERS = Memblock((ReserveMem("logs", 0x20_0000, 0x3000),))


@pytest.mark.parametrize("version", range(1, 6))
def test_only_what_luo_cannot_start_without_panics(version, tmp_path):
    """Before there were blocks, the list of sessions was read at the first open of /dev/liveupdate."""
    luo = Luo((Session("vm", (LuoFile(1, MEMFD),)),), (Flb("pci", 7),), version=version)
    built = handed_over({"memblock": USERS, "LUO": luo})
    path = built.image.to_elf(tmp_path / "core", machine="EM_X86_64")
    with open_leniently(path) as suspect:
        case = Case(suspect, kernel_named("7.3"))
        owners = case.opened.ownership.owners
        assert FLBS_OWNER in owners
        panic = {str(owner) for owner in owners if harm(case, owner).effect is Effect.PANIC}
    in_blocks = luo_version(f"luo-v{version}").sessions_in_blocks
    assert panic - {"LUO/header"} == ({"LUO/blob", "LUO/sessions"} if in_blocks else {"LUO/blob"})
