"""The report in a real browser: it works from a file, without a network, by mouse and by keyboard."""

from __future__ import annotations

import pytest

from tests.captures import CAPTURES
from tests.report.browser import CHROMIUM, MISSING, opened_browser
from tests.report.pages import hostile, written
from tests.report.screenshots import write_screenshots

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as browser:
        yield browser


@pytest.fixture
def page(browser):
    """A page that fails the test when anything in it complains, or asks for anything from outside."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on(
        "request",
        lambda request: troubles.append(request.url) if not request.url.startswith("file:") else None,
    )
    yield page
    page.close()
    assert troubles == []


def shown(page, tmp_path, *arguments):
    written(tmp_path, *arguments)
    page.goto((tmp_path / "report.html").as_uri())
    return page


def grid(page, name):
    return page.locator(f"[data-grid={name}]")


def first_cells(box, column):
    return [row.locator("td").nth(column).inner_text() for row in box.locator("tbody tr").all()]


def test_tables_are_paged_sorted_and_searched(page, tmp_path):
    shown(page, tmp_path, CAPTURES["luo-memfd serialized"].path)
    runs = grid(page, "runs")
    assert runs.locator("tbody tr").count() == 25
    first = first_cells(runs, 0)
    runs.get_by_role("button", name="Next").click()
    assert first_cells(runs, 0)[0] not in first
    runs.get_by_role("button", name="order").click()
    runs.get_by_role("button", name="order").click()
    assert first_cells(runs, 2)[0] == "9"
    assert runs.locator("th[aria-sort=descending]").inner_text() == "order"
    runs.get_by_role("searchbox").fill("memblock")
    assert all("memblock" in cell for cell in first_cells(runs, 5))
    runs.get_by_role("searchbox").fill("nothing is called this")
    assert runs.get_by_role("status").inner_text() == "nothing found"


def test_addresses_sort_as_numbers(page, tmp_path):
    shown(page, tmp_path, CAPTURES["luo-memfd serialized"].path)
    files = grid(page, "files")
    files.get_by_role("button", name="token").click()
    files.get_by_role("button", name="token").click()
    assert first_cells(files, 1)[0] == "0xffffffffffffffff"


def test_everything_can_be_reached_by_keyboard(page, tmp_path):
    shown(page, tmp_path, CAPTURES["luo-memfd serialized"].path)
    page.keyboard.press("Tab")
    page.wait_for_function("document.activeElement.className === 'skip'")
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === '#content'")
    page.locator("[data-grid=runs] th button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("[data-grid=runs] th[aria-sort=ascending]").count() == 1


def test_hostile_names_do_nothing(page, tmp_path):
    shown(page, tmp_path, hostile().image.to_elf(tmp_path / "hostile.elf"))
    assert "alert(1)" in grid(page, "files").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_and_ink_differ_enough(page, tmp_path, scheme):
    page.emulate_media(color_scheme=scheme)
    shown(page, tmp_path, CAPTURES["luo-memfd serialized"].path)
    style = "getComputedStyle(document.body)"
    ink, paper = (page.evaluate(f"{style}.{name}") for name in ("color", "backgroundColor"))
    assert contrast(ink, paper) > 7


def test_a_narrow_window_needs_no_sideways_scrolling(page, tmp_path):
    page.set_viewport_size({"width": 380, "height": 800})
    shown(page, tmp_path, CAPTURES["luo-memfd serialized"].path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def contrast(*colors: str) -> float:
    """The contrast ratio of two `rgb(...)` colours, as WCAG 2 has it."""
    lights = sorted(map(luminance, colors))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_picture_zooms_by_keyboard_and_click(page, tmp_path):
    shown(page, tmp_path, CAPTURES["luo-memfd serialized"].path)
    figure = page.locator("figure").first
    view = "element => element.querySelector('svg').getAttribute('viewBox')"
    whole = figure.evaluate(view)
    figure.focus()
    page.keyboard.press("+")
    near = figure.evaluate(view)
    assert near != whole
    figure.locator("svg").click(position={"x": 300, "y": 100})
    assert figure.evaluate(view) not in (near, whole)
    page.keyboard.press("0")
    assert [float(part) for part in figure.evaluate(view).split()] == [float(part) for part in whole.split()]


def test_pointing_at_a_block_tells_what_it_is(page, tmp_path):
    shown(page, tmp_path, CAPTURES["luo-memfd serialized"].path)
    tips = page.locator("figure svg rect[data-range] title").all_text_contents()
    assert any('memblock/reserve_mem "trace"' in tip and "0x" in tip for tip in tips)


def test_the_screenshots_of_the_docs_can_be_taken(browser, tmp_path):
    write_screenshots(browser, tmp_path)
    names = {path.stem for path in tmp_path.iterdir()}
    assert names == {
        "report-light", "report-dark", "report-narrow", "report-printed", "terminal-80", "terminal-200",
    }  # fmt: skip
    assert all(path.stat().st_size > 10_000 for path in tmp_path.iterdir())
