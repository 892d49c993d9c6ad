"""khodump on a drgn.Program."""

from __future__ import annotations
