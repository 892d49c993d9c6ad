from __future__ import annotations

from hypothesis import settings

# The same examples every time, however slow the machine.
settings.register_profile("khodump", derandomize=True, deadline=None, max_examples=100, database=None)
settings.load_profile("khodump")
