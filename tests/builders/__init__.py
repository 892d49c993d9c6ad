"""Writers that turn a short description into bytes a kernel or a dump tool could have left behind."""

from __future__ import annotations
