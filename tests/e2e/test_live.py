"""The page while things happen: levers, pause, the connection, much at once, clear and undo (B10 to B14, B17)."""

from __future__ import annotations

import json

import httpx
from playwright.sync_api import Page, expect

from cio_middleware.testing import Sandbox
from tests.e2e.shop import event

LONG_TASK_MS = 50
"""What a browser calls a long task: above it, a person feels that the page is late."""


def fill(app: httpx.Client, count: int, start: int = 0, names: int = 10_000) -> None:
    """Send so many events, in one batch for each hundred; an app has no more than so many names."""
    for first in range(start, start + count, 100):
        batch = [event(f"event_{number % names}") for number in range(first, min(first + 100, start + count))]
        app.post("/api/v2/batch", json={"batch": batch}).raise_for_status()


def longest_work(trace: bytes) -> float:
    """
    The longest task of a page in a trace, in milliseconds that a processor worked on it.

    The browser's own list of long tasks measures by the clock: on a machine that is busy with something else, a task of
    10 ms that waits for its processor takes 60. A trace also says how long the thread ran, and that is the page's.
    """
    events = json.loads(trace)["traceEvents"]
    mains = {
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    work: list[float] = [
        each["tdur"] / 1000
        for each in events
        if each["name"].endswith("RunTask") and (each["pid"], each["tid"]) in mains and "tdur" in each
    ]
    assert len(work) > 100, "the trace holds no tasks: the browser names them otherwise now"
    return float(max(work))


def in_sight(page: Page) -> tuple[str, float]:
    """The name of the first row below the head of the list, and where it stands."""
    return tuple(
        page.evaluate(
            """() => {
              const edge = document.querySelector("#scroll thead").getBoundingClientRect().bottom;
              const rows = [...document.querySelectorAll("tr.row")];
              const row = rows.find((row) => row.getBoundingClientRect().top >= edge);
              return [row.querySelector("th").textContent, row.getBoundingClientRect().top];
            }"""
        )
    )


def test_b10_levers_stay_in_step_across_tabs(visit, sandbox, context):
    """A lever that is clicked, its key, and a call of the API show in both tabs, with the lamp and the stripe."""
    one = visit()
    other = visit(tab=context.new_page())

    def pulled(lever: str, state: str) -> None:
        for tab in (one, other):
            expect(tab.get_by_role("switch", name=lever)).to_have_attribute("aria-checked", state)

    one.get_by_role("switch", name="429, wait 2 seconds").click()
    pulled("429, wait 2 seconds", "true")
    expect(other.locator("body[data-faulty]")).to_be_attached()
    expect(other.locator("#n-faults")).to_have_text("1")
    other.keyboard.press("1")
    pulled("429, wait 2 seconds", "false")
    lever = {"label": "500, always", "do": {"type": "status", "status": 500}}
    address = f"{sandbox.url}/_sandbox/v1/faults/lever-2"
    httpx.put(
        address, params={"workspace": sandbox.site_id}, json=lever, headers={"X-Cio-Sandbox": "1"}, trust_env=False
    ).raise_for_status()
    pulled("500, always", "true")
    one.keyboard.press("0")
    pulled("500, always", "false")
    assert sandbox.faults.rules() == []


def test_b10_one_tab_holds_the_stream(visit, context, app):
    """Of three tabs one opens the stream, the others follow it, and when it closes another one takes over."""
    streams: list[str] = []
    context.on("request", lambda request: streams.append(request.url) if "/v1/stream?" in request.url else None)
    tabs = [visit(), visit(tab=context.new_page()), visit(tab=context.new_page())]
    app.post("/api/v2/entity", json=event("one")).raise_for_status()
    for tab in tabs:
        expect(tab.locator("tr.row", has_text="one")).to_have_count(1)
    assert len(streams) == 1
    tabs[0].close()
    expect(tabs[1].locator("tr.row")).to_have_count(1)
    app.post("/api/v2/entity", json=event("two")).raise_for_status()
    for tab in tabs[1:]:
        expect(tab.locator("tr.row", has_text="two")).to_have_count(1)
    assert len(streams) == 2


def test_b11_scrolling_pauses_and_resuming_keeps_the_place(visit, app):
    """Whoever scrolls is not moved: what is new waits behind a pill, and is let in above what they read."""
    fill(app, 200)
    page = visit()
    expect(page.locator("tr.row").first).to_be_visible()
    page.locator("#scroll").hover()
    page.mouse.wheel(0, 1500)
    page.wait_for_function("() => document.querySelector('#scroll').scrollTop === 1500")
    expect(page.locator("#live")).to_have_text("Paused")
    before = in_sight(page)
    fill(app, 14, start=1000)
    pill = page.locator(".pill")
    expect(pill).to_have_text("14 new")
    assert in_sight(page) == before
    page.locator("#live").click()
    expect(page.locator("#live")).to_have_text("Live")
    expect(pill).to_be_hidden()
    assert in_sight(page) == before
    page.mouse.move(700, 600)
    page.mouse.wheel(0, 300)
    expect(page.locator("#live")).to_have_text("Paused")
    fill(app, 3, start=2000)
    expect(pill).to_have_text("3 new")
    pill.click()
    expect(page.locator("tr.row", has_text="event_2002")).to_be_in_viewport()


def test_b11_space_pauses_and_selected_text_does_too(visit, app):
    """Space holds the list and lets it go; so does a selection inside of it."""
    fill(app, 3)
    page = visit()
    expect(page.locator("tr.row")).to_have_count(3)
    page.keyboard.press(" ")
    fill(app, 2, start=10)
    expect(page.locator(".pill")).to_have_text("2 new")
    expect(page.locator("tr.row")).to_have_count(3)
    page.keyboard.press(" ")
    expect(page.locator("tr.row")).to_have_count(5)
    page.locator("tr.row td.person").first.evaluate("(cell) => getSelection().selectAllChildren(cell)")
    expect(page.locator("#live")).to_have_text("Paused")
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#live")).to_have_text("Live")


def test_b12_an_outage_is_said_and_survived(page):
    """When the server stops the page says so and keeps its rows; nothing comes twice, and a new epoch is said."""
    with Sandbox.running() as sandbox, httpx.Client(base_url=sandbox.url, auth=("dev", "key"), trust_env=False) as app:
        fill(app, 5)
        page.goto(f"{sandbox.url}/?workspace=dev#/events")
        expect(page.locator("tr.row")).to_have_count(5)
        sandbox.stop()
        expect(page.locator("#banner")).to_contain_text("Server stopped at")
        expect(page.locator("#banner")).to_contain_text("The last 5 events are still here.")
        expect(page.locator("body[data-off]")).to_be_attached()
        assert page.title().startswith("○")
        sandbox.start()
        expect(page.locator("#banner")).to_be_hidden()
        with httpx.Client(base_url=sandbox.url, auth=("dev", "key"), trust_env=False) as again:
            fill(again, 2, start=10)
        expect(page.locator("tr.row")).to_have_count(7)
        names = page.locator("tr.row th").all_inner_texts()
        assert len(names) == len(set(names)) == 7
        sandbox.reset()
        expect(page.locator("#banner")).to_contain_text("restarted")
        expect(page.locator("tr.row")).to_have_count(0)
        page.get_by_role("button", name="Understood").click()
        expect(page.locator("#banner")).to_be_hidden()


def test_b13_five_thousand_events_in_ten_seconds(visit, sandbox, app, browser):
    """500 events a second for ten seconds: none is missing, no task works for longer than 50 ms, and few rows exist."""
    page = visit()
    browser.start_tracing(page=page, categories=["toplevel"])
    started = page.evaluate("performance.now()")
    for tick in range(100):
        fill(app, 50, start=tick * 50, names=20)
        page.wait_for_function("(due) => performance.now() >= due", arg=started + (tick + 1) * 100, polling=20)
        if tick % 10 == 5:
            assert page.evaluate("document.querySelectorAll('tr').length") < 400
    expect(page.locator("#n-events")).to_have_text("5000", timeout=30_000)
    table = page.locator("table.ledger")
    expect(table).to_have_attribute("aria-rowcount", "5001")
    assert sandbox.summary()["total"] == 5000
    page.locator("#scroll").hover()
    for _ in range(30):
        page.mouse.wheel(0, 4000)
    page.keyboard.press("End")
    assert page.evaluate("document.querySelectorAll('tr').length") < 400
    assert longest_work(browser.stop_tracing()) <= LONG_TASK_MS


def test_b14_clear_and_undo(visit, app):
    """Clear empties the list at once and offers to undo for ten seconds, which brings everything back."""
    fill(app, 5)
    page = visit()
    expect(page.locator("tr.row")).to_have_count(5)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".empty")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("tr.row")).to_have_count(5)
    page.keyboard.press("x")
    expect(page.locator("tr.row")).to_have_count(0)
    page.keyboard.press("u")
    expect(page.locator("tr.row")).to_have_count(5)


def test_b17_workspaces_are_apart(page):
    """The switcher appears with the second site id, and what one workspace holds the other does not show."""
    with Sandbox.running() as sandbox:
        for site in ("shop", "blog"):
            with httpx.Client(base_url=sandbox.url, auth=(site, "key"), trust_env=False) as app:
                app.post("/api/v2/entity", json=event(f"of_{site}")).raise_for_status()
                if site == "shop":
                    page.goto(sandbox.url)
                    expect(page.locator("tr.row th")).to_have_text(["of_shop"])
                    expect(page.locator("#workspace-box")).to_be_hidden()
        page.reload()
        page.goto(f"{sandbox.url}/?workspace=shop")
        expect(page.locator("tr.row th")).to_have_text(["of_shop"])
        page.get_by_role("combobox", name="Workspace").select_option("blog")
        expect(page.locator("tr.row th")).to_have_text(["of_blog"])
        page.locator("#clear").click()
        expect(page.locator("tr.row")).to_have_count(0)
        with sandbox.workspace("shop") as shop:
            assert shop.count("of_shop") == 1
