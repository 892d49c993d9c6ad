from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.kernel.moments import Moment, unpack

# The same examples every time, however slow the machine.
settings.register_profile("khodump", derandomize=True, deadline=None, max_examples=100, database=None)
# make fuzz: others every time.
settings.register_profile(
    "deep",
    deadline=None,
    max_examples=int(os.environ.get("KHODUMP_EXAMPLES", "2000")),
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("khodump")


@pytest.fixture(scope="session")
def moments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Moment]:
    """A real kernel at four moments."""
    return unpack(tmp_path_factory.mktemp("moments"))
