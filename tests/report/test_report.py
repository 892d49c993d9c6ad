"""What the report says, and that nothing in it can act or be mistaken."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

import khodump
from tests.captures import CAPTURES, HISTORIC, SAMPLES
from tests.report.pages import Elements, data_of, hostile, million_runs, written
from tests.transcript import run

SECTIONS = ["findings", "picture", "preserved", "sessions", "subtrees", "map-pages", "runs", "unread", "made"]


@pytest.mark.parametrize("name", [*CAPTURES, *HISTORIC])
def test_every_capture_has_a_report(name, tmp_path):
    html = written(tmp_path, {**CAPTURES, **HISTORIC}[name].path)
    assert re.findall(r'<section id="([a-z-]+)"', html) == SECTIONS
    assert Elements(html).risky == []


def test_the_verdict_and_the_cause_come_first(tmp_path):
    html = written(tmp_path, SAMPLES / "captures" / "fail-compat" / "serialized.elf")
    assert '<header class="bad">' in html
    head = html[: html.index("<nav")]
    assert "the root FDT says kho-v9" in head
    first_card = html[html.index("<article") : html.index("</article>")]
    assert "handover FDT (0x51f000) is incompatible with &#39;kho-v4&#39;: 1" in first_card


def test_a_healthy_handover_is_called_so(tmp_path):
    html = written(tmp_path, CAPTURES["luo-memfd serialized"].path)
    assert '<header class="good">' in html
    assert "rules were run" in html


def test_tables_hold_what_the_commands_print(tmp_path):
    path = CAPTURES["kho-test serialized"].path
    data = data_of(written(tmp_path, path))
    names = [name for name, _ in data["runs"]["columns"]]
    columns = dict(zip(names, data["runs"]["values"], strict=True))
    listed = run("inspect", path, "--owners", "--format", "csv", "-q").stdout.splitlines()[1:]
    assert [line.split(",")[0] for line in listed] == columns["phys"]["values"]
    owners = [columns["owner"]["words"][at] for at in columns["owner"]["index"]]
    assert [line.rsplit(",", 1)[1] for line in listed] == owners


def test_styles_and_script_are_the_ones_that_the_policy_names(tmp_path):
    html = written(tmp_path, CAPTURES["luo-memfd serialized"].path)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', html)
    assert policy.startswith("default-src &#39;none&#39;;")
    assert "unsafe" not in policy
    inline = re.findall(r"<style>(.*?)</style>", html, re.DOTALL) + re.findall(
        r"<script>(.*?)</script>", html, re.DOTALL
    )
    assert len(inline) == 4  # the page's two, and one a picture
    for text in inline:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy.replace(
            "&#43;", "+"
        )


def test_names_from_an_image_are_text(tmp_path):
    image = hostile().image.to_elf(tmp_path / "hostile.elf")
    html = written(tmp_path, image)
    elements = Elements(html)
    assert elements.risky == []
    assert not {"img", "b", "i"} & set(elements.names)
    assert elements.names.count("script") == 2
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "alert(1)" in html


def test_a_million_runs_stay_small_and_whole(tmp_path):
    image = million_runs().image.to_elf(tmp_path / "million.elf")
    html = written(tmp_path, image)
    assert len(html.encode()) < 5_000_000
    runs = data_of(html)["runs"]
    names = [name for name, _ in runs["columns"]]
    columns = dict(zip(names, runs["values"], strict=True))
    with khodump.open(image) as handover:
        assert sum(columns["size"]["values"]) == handover.preserved.total_size
    assert sum(columns["runs"]["values"]) > 1_000_000
    assert "too many for a page" in html


def test_a_mapless_root_fdt_has_a_report_too(tmp_path):
    image = hostile().image
    image.write(0x100000, b"\0")  # where the root FDT begins
    html = written(tmp_path, image.to_elf(tmp_path / "broken.elf"), "--fdt", "0x100000")
    assert "fdt-invalid" in html
    assert '<section id="runs"' not in html


def test_a_report_never_replaces_a_file_unasked(tmp_path):
    path = CAPTURES["kho-test serialized"].path
    target = tmp_path / "report.html"
    target.write_text("mine")
    assert run("report", path, "-o", target).status == 2
    assert target.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_two_handovers_are_compared(tmp_path):
    old, new = (CAPTURES[f"luo-memfd {moment}"].path for moment in ("serialized", "next-out"))
    html = written(tmp_path, old, new)
    assert "39.2 MiB removed" in html[: html.index("<nav")]
    runs = data_of(html)["runs"]
    listed = run("diff", old, new, "--owners", "--format", "csv", "-q").stdout.splitlines()[1:]
    change, phys = runs["values"][:2]
    words = [change["words"][at] for at in change["index"]]
    assert [line.split(",")[:2] for line in listed] == [
        list(pair) for pair in zip(words, phys["values"], strict=True)
    ]


def test_a_report_on_three_images_is_refused(tmp_path):
    path = CAPTURES["kho-test serialized"].path
    result = run("report", path, path, path, "-o", tmp_path / "report.html")
    assert result.status == 2
    assert "--image" in result.stderr
