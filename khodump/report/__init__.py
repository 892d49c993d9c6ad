"""What a person looks at: pictures and the report. Nothing here works anything out."""

from __future__ import annotations
