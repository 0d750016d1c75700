"""The view of events: what arrives is there at once, judged, and can be found (B1 to B8)."""

from __future__ import annotations

import re
import statistics
import time
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.shop import RETRIED, event, identify


def row(page: Page, name: str):
    """The rows of the list that hold a text."""
    return page.locator("tr.row", has_text=name)


def shapes(page: Page, name: str) -> list[str]:
    """The shapes that stand under Attempts in one row."""
    glyphs = row(page, name).locator("td.attempts svg")
    return [str(glyph.get_attribute("data-verdict")) for glyph in glyphs.all()]


def test_b01_the_empty_state_works(visit, sandbox, app):
    """Before the first event the page shows this server's address, and its button makes one row."""
    page = visit()
    port = sandbox.url.rpartition(":")[2]
    expect(page.locator("#empty-code")).to_contain_text(f"CUSTOMERIO_BASE_URL=http://127.0.0.1:{port}")
    for tab in ("Django / Flask", "Script", "FastAPI"):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator("#empty-code")).to_contain_text(f"CUSTOMERIO_SITE_ID={sandbox.site_id}")
    page.get_by_role("button", name="Send a test event").click()
    expect(page.locator("tr.row")).to_have_count(1)
    assert [seen.verdict for seen in sandbox.events()] == ["accepted"]


def test_b02_an_event_appears_without_reload(visit, app):
    """What an app posts stands in the list within half a second: the median of nine, for a busy machine delays some."""
    page = visit()
    page.evaluate(
        """() => {
          window.seen = {};
          new MutationObserver(() => {
            for (const head of document.querySelectorAll("tr.row th")) window.seen[head.textContent] ??= Date.now();
          }).observe(document.querySelector("#list"), { childList: true, subtree: true });
        }"""
    )
    waits = []
    for number in range(9):
        name, sent = f"signed_up_{number}", time.time() * 1000
        app.post("/api/v2/entity", json=event(name)).raise_for_status()
        expect(page.get_by_role("rowheader", name=name)).to_be_visible()
        waits.append(page.evaluate("(name) => window.seen[name]", name) - sent)
    assert statistics.median(waits) < 500


def test_b03_a_refusal_says_how_many_bytes(visit, app):
    """What Customer.io refuses is a red square, and its detail counts the bytes."""
    page = visit()
    assert app.post("/api/v2/entity", json=event("x" * 131)).status_code == 400
    refused = row(page, "xxx")
    expect(refused.locator("td.verdict svg")).to_have_attribute("data-verdict", "rejected")
    refused.click()
    problem = page.locator(".finding.is-bad")
    expect(problem).to_contain_text("131 bytes")
    expect(problem).to_contain_text("100")
    expect(problem.locator(".fix")).to_be_visible()


def test_b04_a_batch_in_part(visit, app):
    """Of a batch of three with one bad item, two rows are good and one says which item it was."""
    page = visit()
    batch = {"batch": [event("first"), event("y" * 101), event("third")]}
    assert app.post("/api/v2/batch", json=batch).status_code == 207
    expect(page.locator("tr.row")).to_have_count(3)
    assert shapes(page, "yyy") == ["rejected"]
    assert {*shapes(page, "first"), *shapes(page, "third")} <= {"accepted", "accepted_but"}
    row(page, "yyy").click()
    expect(page.locator(".delivery")).to_contain_text("item 2 of 3")


def test_b05_retries_are_one_row(visit, app, sandbox):
    """Two injected faults and then success are one row of three shapes, and the detail says how long the waits were."""
    page = visit()
    app.post("/api/v2/entity", json=identify()).raise_for_status()
    for steps, name, last in ((["500", "500", "ok*"], "sent", "accepted"), (RETRIED, "paid", "accepted_but")):
        sandbox.faults.script(steps)
        paid = event(name)
        assert [app.post("/api/v2/entity", json=paid).is_success for _ in range(3)] == [False, False, True]
        expect(row(page, name)).to_have_count(1)
        expect(row(page, name).locator("td.attempts svg")).to_have_count(3)
        assert shapes(page, name) == ["fault", "fault", last]
    row(page, "paid").click()
    expect(page.locator(".finding.is-warn")).to_contain_text("W-retry-too-soon")  # it did not wait, as it was asked to
    tries = page.locator(".delivery .try")
    expect(tries).to_have_count(3)
    expect(tries.nth(0)).to_contain_text("429 Too Many Requests")
    expect(tries.nth(1)).to_contain_text("Retry-After asked for 1 s")
    log = sandbox.events("paid")[0].attempts
    assert log == 3
    expect(tries.nth(0).locator(".wait")).to_contain_text(re.compile(r"\d+ ms until the next"))


def test_b06_a_lost_reply_is_stored_once(visit, app, sandbox):
    """An event whose reply was lost is one accepted row, its repeat one duplicate, and the person has it once."""
    page = visit()
    app.post("/api/v2/entity", json=identify()).raise_for_status()
    sandbox.faults.script(["ack_lost", "ok*"])
    paid = event("paid")
    with pytest.raises(Exception, match=r"disconnected|reset|closed"):
        app.post("/api/v2/entity", json=paid)
    app.post("/api/v2/entity", json=paid).raise_for_status()
    expect(row(page, "paid")).to_have_count(2)
    verdicts = [glyph.get_attribute("data-verdict") for glyph in row(page, "paid").locator("td.verdict svg").all()]
    assert sorted(verdicts) == ["accepted", "duplicate"]
    assert sandbox.people["ada"].event_names.count("paid") == 1


@pytest.mark.parametrize(
    ("q", "names"),
    [
        ("name:order_*", {"order_paid", "order_sent"}),
        ("-name:order_*", {"signed_up", "identify", "/pricing"}),
        ("kind:page", {"/pricing"}),
        ("person:grace", {"signed_up"}),
        ("data.total:>100", {"order_sent"}),
        ("attr.plan:pro", {"identify"}),
        ("is:problem -is:rejected name:signed_up", {"signed_up"}),
        ("free_text_42", {"order_paid"}),
    ],
)
def test_b07_each_filter(visit, app, q, names):
    """Each key of the filter box and its negation leave the rows that they name; the address keeps it over a reload."""
    shop = [
        identify(plan="pro"), event("order_paid", total=42, note="free_text_42"), event("order_sent", total=420),
        event("signed_up", "grace"), {**event("/pricing"), "action": "page"},
    ]  # fmt: skip
    app.post("/api/v2/batch", json={"batch": shop}).raise_for_status()
    page = visit()
    expect(page.locator("tr.row")).to_have_count(5)
    page.get_by_role("searchbox", name="Filter events").fill(q)
    expect(page.locator("tr.row")).to_have_count(len(names))
    assert set(page.locator("tr.row th").all_inner_texts()) == names
    assert q in unquote(page.url).replace("+", " ")
    page.reload()
    expect(page.locator("tr.row")).to_have_count(len(names))
    expect(page.get_by_role("searchbox", name="Filter events")).to_have_value(q)


def test_b07_an_unknown_key_says_which_was_meant(visit, app):
    """A key that is none names the nearest one beside the box."""
    app.post("/api/v2/entity", json=event("signed_up")).raise_for_status()
    page = visit()
    page.get_by_role("searchbox", name="Filter events").fill("nane:signed_up")
    expect(page.locator("#filter-says")).to_contain_text("name:")
    page.get_by_role("searchbox", name="Filter events").fill("name:nothing kind:event")
    expect(page.locator(".none")).to_contain_text("alone: 1 event")


def test_b07_a_filter_stays_live(visit, app):
    """Under a filter, what matches appears as it comes, and nothing else does."""
    page = visit("#/events?q=name:order_*")
    app.post("/api/v2/batch", json={"batch": [event("signed_up"), event("order_paid")]}).raise_for_status()
    expect(row(page, "order_paid")).to_have_count(1)
    expect(page.locator("tr.row")).to_have_count(1)


def test_b08_a_span_of_the_strip_filters(visit, app):
    """A bar that is clicked, and a span that is dragged or chosen with Shift and an arrow, filter by time."""
    app.post("/api/v2/entity", json=event("signed_up")).raise_for_status()
    page = visit()
    strip = page.locator("#strip")
    expect(strip.locator("rect.t-ok, rect.t-warn").first).to_be_visible()
    box = strip.bounding_box()
    page.mouse.click(box["x"] + 10, box["y"] + 30)
    field = page.get_by_role("searchbox", name="Filter events")
    expect(field).to_have_value(re.compile(r"^since:\d\d:\d\d:\d\d before:\d\d:\d\d:\d\d$"))
    expect(page.locator("tr.row")).to_have_count(0)
    field.fill("")
    expect(page.locator("tr.row")).to_have_count(1)
    page.mouse.move(box["x"] + box["width"] - 120, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 30, steps=4)
    page.mouse.up()
    expect(field).to_have_value(re.compile("^since:"))
    expect(page.locator("tr.row")).to_have_count(1)
    field.fill("")
    expect(field).to_have_value("")
    strip.focus()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    expect(field).to_have_value(re.compile("^since:"))
    expect(page.locator("tr.row")).to_have_count(0)
