"""What khodump is measured against."""

from __future__ import annotations
