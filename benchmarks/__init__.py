"""What khodump costs, beside a walker in C. `make bench` runs it; docs/performance.md holds what came out."""

from __future__ import annotations
