"""Pictures: what `khodump.analysis.picture` worked out, drawn. Nothing here asks anything of a handover."""

from __future__ import annotations
