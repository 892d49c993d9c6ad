from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

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
