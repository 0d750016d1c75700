"""How the page looks: themes, widths, and the pictures of the documentation (B18, B19)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.shop import event
from tests.e2e.test_accessibility import STATES, TOKENS, stock

PROBE = """(names) => {
  const probe = document.body.appendChild(document.createElement("i"));
  const found = {};
  for (const name of names) { probe.style.color = `var(--${name})`; found[name] = getComputedStyle(probe).color; }
  probe.remove();
  return found;
}"""


def tokens(theme: int) -> dict[str, str]:
    """The colours of a theme as a browser computes them."""
    found = {}
    for name, value in reversed(re.findall(r"--([\w-]+): ([^;]+);", TOKENS.read_text(encoding="utf-8"))):
        colours = re.findall(r"#([0-9A-Fa-f]{6})", value)
        if colours:
            colour = colours[theme] if len(colours) > 1 else colours[0]
            found[name] = "rgb({}, {}, {})".format(*(int(colour[at : at + 2], 16) for at in (0, 2, 4)))
    return found


def test_b18_the_theme_follows_the_system_until_one_is_chosen(visit, page):
    """Every token is the system's theme's; a chosen one is kept over a reload, and can be given up again."""
    for scheme, theme in (("light", 0), ("dark", 1)):
        page.emulate_media(color_scheme=scheme)
        visit()
        assert page.evaluate(PROBE, list(tokens(theme))) == tokens(theme)
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate(PROBE, list(tokens(0))) == tokens(0)
    page.reload()
    expect(page.locator("html[data-ready]")).to_be_attached()
    assert page.evaluate(PROBE, list(tokens(0))) == tokens(0)
    page.keyboard.press("t")
    page.emulate_media(color_scheme="light")
    assert page.evaluate(PROBE, list(tokens(1))) == tokens(1)
    page.keyboard.press("t")
    assert page.evaluate(PROBE, list(tokens(0))) == tokens(0)


@pytest.mark.parametrize("width", [320, 390, 768, 1200, 1440, 1728])
def test_b19_no_width_scrolls_sideways(visit, app, sandbox, page, width):
    """From a small phone to a large screen, no view is wider than the window, and the filter box is in reach."""
    page.set_viewport_size({"width": width, "height": 900})
    stock(app, sandbox)
    for where in STATES:
        visit(where)
        wide = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], where
    visit("#/events")
    box = page.get_by_role("searchbox", name="Filter events").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def test_b19_the_detail_is_a_sheet_where_it_has_no_room(visit, app, page):
    """Below 1200 pixels the detail lies over the list, on a phone it is a page of its own with a way back."""
    app.post("/api/v2/entity", json=event("order_paid")).raise_for_status()
    page.set_viewport_size({"width": 1000, "height": 800})
    visit("#/events/1")
    sheet = page.locator("#detail").bounding_box()
    assert sheet is not None
    assert (sheet["x"] + sheet["width"], sheet["height"]) == (1000, 800)
    page.set_viewport_size({"width": 390, "height": 800})
    page.get_by_role("button", name="Close the detail").click()
    expect(page.locator("tr.row")).to_be_visible()
    for view in ("Events", "People", "Problems", "Faults"):
        target = page.get_by_role("navigation").get_by_role("link", name=view).bounding_box()
        assert target is not None
        assert target["height"] >= 44


def test_the_table_of_files_is_the_folder():
    """Every file of the page is served, and nothing else is in its folder."""
    from cio_middleware.sandbox import page as served

    folder = Path(served.__file__).parent / "page"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(served.TABLE)


def test_scripts_are_small():
    """No script is longer than 250 lines, and all of them together are small enough to be read."""
    scripts = {path.name: path.read_text(encoding="utf-8") for path in (TOKENS.parents[1] / "js").glob("*.js")}
    assert {name: len(text.splitlines()) for name, text in scripts.items() if len(text.splitlines()) > 250} == {}
    assert sum(map(len, scripts.values())) < 130_000
    assert sum(path.stat().st_size for path in TOKENS.parent.glob("*.css")) < 40_000
