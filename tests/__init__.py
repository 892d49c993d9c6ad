"""The tests mirror the package; what they read is written by `tests.builders`."""

from __future__ import annotations
