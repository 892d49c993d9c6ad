"""How results look: one file a family of formats. Nothing here knows what the rows mean."""

from __future__ import annotations
