"""What a picture of a handover shows, and its drawings: SVG, PNG, blocks of text."""

from __future__ import annotations
