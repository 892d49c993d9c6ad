"""One file per user of KHO: what its node in the root FDT leads to."""

from __future__ import annotations
