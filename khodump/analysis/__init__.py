"""Questions asked of a handover: pure functions that return rows."""

from __future__ import annotations
