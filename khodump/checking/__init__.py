"""What is wrong with a handover, and what the next kernel will do with it."""

from __future__ import annotations
