"""One-line mutants of the rooms that decide, and whether the tests of these rooms notice: `make mutants`."""

from __future__ import annotations
