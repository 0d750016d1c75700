"""The page for those who do not see it, do not point, or see it otherwise (A1 to A12)."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.shop import RETRIED, event, identify

TOKENS = Path(__file__).parents[2] / "cio_middleware" / "sandbox" / "page" / "css" / "tokens.css"
AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
STATES = ["#/events", "#/events/1", "#/people", "#/people/ada", "#/problems", "#/faults", "#/differences"]


def stock(app, sandbox) -> None:
    """One event of each verdict that an app alone can cause."""
    post = lambda item: app.post("/api/v2/entity", json=item)  # noqa: E731  # ten of them follow
    post(identify("ada", plan="free", email="ada@lovelace.dev"))
    post(identify("ada", plan="pro"))
    paid = event("order_paid", total=42)
    post(paid)
    post(paid)
    post(event("x" * 131))
    post(event("signed_up", "stranger"))
    app.put("/api/v1/customers/ada/devices", json={"device": {"id": "tok", "platform": "ios"}})
    sandbox.faults.script(RETRIED)
    again = event("order_sent")
    for _ in range(3):
        post(again)
    app.post("/api/v1/customers/gone/suppress")
    post(event("order_paid", "gone"))
    sandbox.faults.script(["500", "ok*"])
    post(event("invoice_paid"))


def violations(page: Page) -> list[str]:
    """What axe objects to, with the first element of each."""
    found = Axe().run(page, options=AXE).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:160]} {each['nodes'][0]['failureSummary'][:200]}" for each in found
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a01_axe_has_no_objection(visit, app, sandbox, page, theme):
    """No rule of WCAG 2.2 A and AA is broken on any view: empty, full, with detail or dialog, by day and night."""
    page.emulate_media(color_scheme=theme)
    visit()
    found = {"empty": violations(page)}
    stock(app, sandbox)
    for where in STATES:
        visit(where)
        found[where] = violations(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    found["dialog"] = violations(page)
    assert {where: said for where, said in found.items() if said} == {}


@pytest.mark.parametrize("width", [390, 320])
def test_a01_axe_has_no_objection_on_a_phone(visit, app, sandbox, page, width):
    """Neither on a phone, where the same page is laid out otherwise."""
    page.set_viewport_size({"width": width, "height": 780})
    stock(app, sandbox)
    found = {}
    for where in STATES:
        visit(where)
        found[where] = violations(page)
    assert {where: said for where, said in found.items() if said} == {}


def test_a02_the_keyboard_reaches_everything(visit, app, sandbox):
    """Tab visits every control once, in order, each with a focus that is seen, and comes out at the end."""
    stock(app, sandbox)
    page = visit("#/events")
    reached: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        said = page.evaluate(
            """() => {
              const node = document.activeElement;
              if (!node || node === document.body) return "";
              const style = getComputedStyle(node, node.closest("tr.row") ? "::after" : null);
              const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 3;
              const name = node.id || node.getAttribute("aria-label") || node.textContent.trim().slice(0, 30);
              return `${seen ? "" : "UNSEEN "}${name}`;
            }"""
        )
        if said == "" or said in reached:
            break
        reached.append(said)
    assert [name for name in reached if name.startswith("UNSEEN")] == []
    wanted = [
        "Skip to the list",
        "Copy .env".lower().replace(" .", "-"),
        "live",
        "clear",
        "theme",
        "help-open",
        "strip",
        "filter",
        "500, always",
        "All",
        "Problems",
        "Retried",
    ]
    order = [
        reached.index(name) for name in wanted if name not in {"500, always", "filter", "All", "Problems", "Retried"}
    ]
    assert order == sorted(order)
    assert {"filter", "500, always", "All", "Problems", "Retried"} <= set(reached)
    assert sum(name in {"invoice_paid", "order_paid", "identify"} for name in reached) == 1, reached


def test_a02_rows_are_walked_and_opened_by_keys(visit, app, sandbox):
    """J and k walk the rows, Enter opens, Escape closes, and slash goes to the filter, where keys are letters again."""
    stock(app, sandbox)
    page = visit()
    expect(page.locator("tr.row").first).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("j")
    name = page.evaluate("() => document.activeElement.textContent")
    assert name == page.locator("tr.row th").nth(1).inner_text()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.locator("#detail-h")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("x1")
    expect(page.get_by_role("searchbox", name="Filter events")).to_have_value("x1")
    assert sandbox.faults.rules() == []
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("f")
    expect(page.locator("#nav a[aria-current]")).to_contain_text("Faults")
    page.keyboard.press("?")
    page.get_by_role("checkbox", name="Turn single keys off").check()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("1")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a03_focus_goes_to_the_detail_and_back(visit, app, sandbox):
    """Opening an event moves the focus to its heading, closing it back to the row."""
    stock(app, sandbox)
    page = visit()
    page.locator("tr.row", has_text="signed_up").click()
    expect(page.locator("#detail-h")).to_be_focused()
    page.get_by_role("button", name="Close the detail").click()
    assert page.evaluate("() => document.activeElement.textContent") == "signed_up"


def test_a04_the_status_is_a_sentence_now_and_then(visit, app):
    """At 100 events a second, who listens hears a summary at most every five seconds; the table itself is silent."""
    page = visit()
    page.evaluate(
        """() => {
          window.heard = [];
          const status = document.querySelector("#status");
          new MutationObserver(() => window.heard.push([performance.now(), status.textContent]))
            .observe(status, { childList: true });
        }"""
    )
    started = page.evaluate("() => performance.now()")
    for tick in range(60):
        app.post("/api/v2/batch", json={"batch": [event(f"event_{tick}") for _ in range(10)]}).raise_for_status()
        page.wait_for_function("(due) => performance.now() >= due", arg=started + (tick + 1) * 100, polling=20)
    page.wait_for_function("() => window.heard.filter(([, text]) => text).length >= 2", timeout=30_000)
    heard = [(at, text) for at, text in page.evaluate("() => window.heard") if text]
    assert all(re.match(r"\d+ new events?", text) for _, text in heard)
    assert all(later - earlier >= 4900 for (earlier, _), (later, _) in pairwise(heard))
    assert page.locator("table [aria-live], table [role=status]").count() == 0


def test_a05_switches_and_chips_say_their_state(visit):
    """A lever is a switch with a name and a state, and a chip says whether it is pressed."""
    page = visit()
    lever = page.get_by_role("switch", name="429, wait 2 seconds", checked=False)
    lever.click()
    expect(page.get_by_role("switch", name="429, wait 2 seconds", checked=True)).to_be_visible()
    expect(page.get_by_role("switch")).to_have_count(6)
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("button", name="Paused", pressed=False)).to_be_visible()


def test_a06_the_list_is_a_table(visit, app, sandbox):
    """To whoever hears it, the list is a table with a caption, and heads of columns and rows; landmarks have names."""
    stock(app, sandbox)
    page = visit()
    snapshot = page.locator("#main").aria_snapshot()
    assert 'table "Events, newest first"' in snapshot
    for head in ("Time", "Verdict", "Kind", "Name", "Person", "Attempts", "Took"):
        assert f'columnheader "{head}"' in snapshot
    assert 'rowheader "signed_up"' in snapshot
    assert "accepted, but" in snapshot
    assert "3 attempts, the last one accepted" in snapshot
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    for landmark in ("banner", "navigation", "main"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    expect(page.get_by_role("complementary", name="People and faults")).to_have_count(1)
    assert page.locator("html").get_attribute("lang") == "en"


def test_a07_reduced_motion_moves_nothing(visit, page):
    """Whoever asks for less motion gets none."""
    page.emulate_media(reduced_motion="reduce")
    visit()
    page.get_by_role("switch", name="500, always").click()
    assert page.evaluate("() => document.getAnimations().length") == 0
    assert page.locator(".lever .handle").first.evaluate("(node) => getComputedStyle(node).transitionDuration") == "0s"


def test_a08_forced_colours_keep_the_shapes(visit, app, sandbox, page):
    """With the system's own colours each verdict is still drawn, in a colour that stands out from its ground."""
    page.emulate_media(forced_colors="active")
    stock(app, sandbox)
    visit()
    expect(page.locator("td.verdict svg").first).to_be_visible()
    for drawn in page.locator("td.verdict svg").all():
        assert len(set(drawn.screenshot())) > 50
        ink, ground = drawn.evaluate(
            "(node) => [getComputedStyle(node).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert contrast(rgb(ink), rgb(ground)) >= 4.5


def test_a09_each_verdict_has_a_shape_of_its_own(visit, app, sandbox, page):
    """Without any colour, no two of the six verdicts look the same."""
    stock(app, sandbox)
    visit()
    expect(page.locator("tr.row").first).to_be_visible()
    page.evaluate("() => document.adoptedStyleSheets.push(Object.assign(new CSSStyleSheet(), {}))")
    shapes: dict[str, str] = {}
    for drawn in page.locator("td.verdict svg").all():
        shapes[str(drawn.get_attribute("data-verdict"))] = str(
            drawn.evaluate(
                """(node) => document.querySelector(node.querySelector("use").getAttribute("href"))
                  .firstElementChild.outerHTML.replace(/fill|stroke/g, "")"""
            )
        )
    assert set(shapes) == {"accepted", "accepted_but", "rejected", "fault", "duplicate", "ignored"}
    assert len(set(shapes.values())) == 6


def test_a10_nothing_is_lost_at_four_hundred_percent(visit, app, sandbox, page):
    """At 320 CSS pixels, which is 400 % of 1280, everything is there and nothing scrolls sideways."""
    page.set_viewport_size({"width": 320, "height": 256})
    stock(app, sandbox)
    for where in STATES:
        visit(where)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 320, where
    visit("#/events")
    page.locator("tr.row", has_text="signed_up").click()
    expect(page.locator("#detail-h")).to_be_in_viewport()
    visit("#/faults")
    page.get_by_role("switch", name="Partial").click()
    expect(page.get_by_role("switch", name="Partial", checked=True)).to_be_visible()


def test_a11_wider_text_is_not_clipped(visit, app, sandbox, page):
    """With the spacing of WCAG 1.4.12 no button, head or label loses a part of its text."""
    stock(app, sandbox)
    for where in ("#/events/1", "#/people/ada", "#/problems", "#/faults"):
        visit(where)
        clipped = page.evaluate(
            """() => {
              const sheet = new CSSStyleSheet();
              sheet.replaceSync(`p { margin-bottom: 2em !important }
                * { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important }`);
              document.adoptedStyleSheets = [sheet];
              const nodes = [...document.querySelectorAll(
                "button, h2, h3, dt, label, .finding p, nav a, .lever span, .try p")];
              const cuts = (node) => node.checkVisibility() && getComputedStyle(node).overflow !== "visible";
              const larger = (node) =>
                node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight + 1;
              return nodes.filter((node) => cuts(node) && larger(node)).map((node) => node.textContent);
            }"""
        )
        assert clipped == []
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 1440


INKS = ("ink", "muted", "ok", "warn", "bad", "fault", "quiet")
PAIRS = [
    *((ink, ground, 4.5) for ink in INKS for ground in ("bg", "surface", "raised", "selection")),
    *(("control", ground, 3.0) for ground in ("surface", "raised")),
    ("bar-ink", "bar", 4.5), ("bar-muted", "bar", 4.5), ("bar-control", "bar", 3.0), ("lamp-ink", "lamp", 4.5),
]  # fmt: skip


@pytest.mark.parametrize("theme", [0, 1], ids=["day", "night"])
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS, ids=[f"{ink}-on-{ground}" for ink, ground, _ in PAIRS])
def test_a12_tokens_have_contrast(ink, ground, least, theme):
    """Each pair of tokens that meet reaches its ratio: 4.5 for text, 3 for the edge of a control."""
    tokens = dict(reversed(re.findall(r"--([\w-]+): ([^;]+);", TOKENS.read_text(encoding="utf-8"))))

    def colour(name: str) -> tuple[float, ...]:
        values = re.findall(r"#([0-9A-Fa-f]{6})", tokens[name])
        value = values[theme] if len(values) > 1 else values[0]
        return tuple(int(value[at : at + 2], 16) for at in (0, 2, 4))

    assert contrast(colour(ink), colour(ground)) >= least


def rgb(text: str) -> tuple[float, ...]:
    """The numbers of a computed colour."""
    return tuple(float(part) for part in re.findall(r"[\d.]+", text)[:3])


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The ratio of WCAG 2."""

    def light(colour: tuple[float, ...]) -> float:
        parts = [part / 255 for part in colour]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((light(one), light(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
