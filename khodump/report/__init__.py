"""The HTML report: of one handover, or of two. Nothing here works anything out."""

from __future__ import annotations
