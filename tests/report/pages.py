"""Reports to look at."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Memfd, folios_of
from tests.transcript import run

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(1)>"\u202e\x1b]0;x\x07'


def written(tmp_path: Path, *arguments: str | Path) -> str:
    """The report that these arguments of `khodump report` make."""
    target = tmp_path / "report.html"
    result = run("report", *arguments, "-o", target, "--force", "-q")
    assert result.status == 0, result.stderr
    assert result.stdout == ""
    return target.read_text(encoding="utf-8")


def data_of(html: str) -> dict[str, Any]:
    """The data that the page's script reads."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    loaded: dict[str, Any] = json.loads(text)
    return loaded


class Elements(HTMLParser):
    """All elements of a page: names, and attributes that could load or run something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.risky: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.risky += [
            (name, value) for name, value in attrs if name.startswith("on") or name in ("src", "style")
        ]
        self.risky += [
            (name, value) for name, value in attrs if name == "href" and not (value or "").startswith("#")
        ]


def hostile() -> BuiltHandover:
    """A handover whose names would act on a browser."""
    memfd = Memfd(folios=folios_of({0: b"a"}))
    session = Session(HOSTILE.encode()[:63], (LuoFile(1, memfd), LuoFile(2, 7, "<b>evil</b>")))
    return build_handover(Description(subtrees={"LUO": Luo((session,)), "<i>node": b"?"}))


def million_runs() -> BuiltHandover:
    """A handover of 64 leaves, in which every other page is preserved."""
    leaves = tuple((number << 27, 0) for number in range(16, 80))
    built = build_handover(Description(preservations=leaves))
    for leaf in built.tree.leaves()[-64:]:
        built.image.write(leaf, b"\x55" * 4096)
    return built
