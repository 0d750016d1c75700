"""
The pictures of the documentation, taken of the page as it is: `make screenshots` writes them.

Without ``--screenshots`` they are taken all the same, so that a view which no longer draws fails here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from cio_middleware.sandbox.store import House
from cio_middleware.testing import Sandbox
from tests.e2e.shop import event, identify, ulid

SMALLEST = 10_000
VIEWS = {
    "events": "#/events",
    "event": "#/events/{retried}",
    "people": "#/people",
    "person": "#/people/ada@lovelace.dev",
    "problems": "#/problems",
    "faults": "#/faults",
    "differences": "#/differences",
}


class Clock:
    """The sandbox's clock, which the story below moves from five minutes ago to now."""

    def __init__(self) -> None:
        self.behind = 290.0

    def __call__(self) -> float:
        """Unix seconds."""
        return time.time() - self.behind


@pytest.fixture(scope="module", name="story")
def _story() -> Iterator[tuple[Sandbox, dict[str, int]]]:
    """Five minutes of a shop: sign-ups, orders, one bad release, and a Customer.io that throttles for a while."""
    clock = Clock()
    with (
        Sandbox.running(site_id="shop", house=House(clock=clock)) as sandbox,
        httpx.Client(base_url=sandbox.url, auth=("shop", "key"), trust_env=False) as app,
    ):
        yield sandbox, tell(sandbox, app, clock)


def tell(sandbox: Sandbox, app: httpx.Client, clock: Clock) -> dict[str, int]:
    """Send it all, and return the numbers of what the pictures open."""

    def post(item: dict, wait: float = 0.0, **context: object) -> int:
        clock.behind = max(0.5, clock.behind - wait)
        app.post("/api/v2/entity", json=item)
        if context and "id" in item:
            pass  # send_context(sandbox, {"event_id": item["id"], "stage": "captured", **context})
        return int(sandbox.cursor)

    people = ["ada@lovelace.dev", "grace-h", "linus-t", "barbara-l", "margaret", "katherine"]
    for person in people[:2]:
        post(identify(person, plan="free", email=f"{person.partition('@')[0]}@example.com"), 1)
    post(identify("ada@lovelace.dev", email="ada@lovelace.dev", plan="free", city="London"), 4)
    for tick in range(60):
        person = people[tick * 7 % len(people)]
        name = ("page_viewed", "product_added", "signed_in", "feature_used")[tick * 5 % 4]
        if tick == 8:
            for other in people[2:]:
                post(identify(other, plan="trial", email=f"{other}@example.com"))
        post(event(name, person, plan="pro"), 3.2 + tick % 5 / 2, route="/shop", method="GET", status=200)
        if 25 <= tick <= 31:
            for extra in range(tick % 4 + 1):
                sandbox.faults.script(["503"] if extra % 2 else ["ok"])
                post(event("order_completed", people[extra], total=42 + tick), 0.2)
    app.put("/api/v1/customers/ada@lovelace.dev/devices", json={"device": {"id": "apns-71f0", "platform": "ios"}})
    post({**event("/pricing", "x"), "action": "page", "identifiers": {"anonymous_id": "7f3c"}, "id": ulid()}, 6)
    company = {"object_type_id": "1", "object_id": "acme-inc"}
    link = [{"identifiers": {"id": "grace-h"}}]
    post({"type": "object", "action": "identify", "identifiers": company, "cio_relationships": link}, 2)
    sandbox.faults.script(["500", "500", "500"])
    invoice = event("invoice_paid", "barbara-l", total=99)
    for wait in (2, 1, 2.5):
        post(invoice, wait, task="worker:billing")
    trial = event("trial_started", "linus-t", plan="team")
    post(trial, 2, task="worker:billing")
    post(trial, 0.4)
    post(identify("grace-h", plan="team", created_at=1795486471000), 2)
    for _ in range(3):
        refused = post(event(f"Order Completed For Customer 8812 {'and so on ' * 10}", "katherine"), 1.3)
    sandbox.faults.script(["429;retry_after=2", "429;retry_after=2", "ok*"])
    order = event("order_completed", "ada@lovelace.dev", total=42, currency="EUR", items=2)
    said = {
        "route": "/checkout", "method": "POST", "status": 201, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "call_site": "shop/views.py:88 in checkout",
    }  # fmt: skip
    for wait in (2, 0.23, 2.2):
        retried = post(order, wait, **said)
    post(identify("ada@lovelace.dev", plan="pro", created_at=1795486471), 1.2)
    clock.behind = 0.0
    return {"retried": retried, "refused": refused}


@pytest.fixture(name="shoot")
def _shoot(request, tmp_path):
    """Takes a picture into the folder that was asked for."""
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    folder.mkdir(exist_ok=True)

    def shoot(page: Page, name: str) -> None:
        path = folder / f"sandbox-{name}.png"
        page.screenshot(path=path, animations="disabled", caret="hide")
        assert path.stat().st_size > SMALLEST

    return shoot


def arrived(page: Page, sandbox: Sandbox, where: str) -> Page:
    """The page, when it has drawn all that there is."""
    page.goto(f"{sandbox.url}/?workspace=shop{where}")
    expect(page.locator("html[data-ready]")).to_be_attached()
    expect(page.locator("#list > *")).to_be_visible()
    page.evaluate("() => document.fonts.ready.then(() => true)")
    return page


@pytest.mark.parametrize(("theme", "scheme"), [("day", "light"), ("night", "dark")])
@pytest.mark.parametrize("view", VIEWS)
def test_pictures_of_every_view(make_context, story, shoot, view, theme, scheme):
    """Every view, in both themes, on a desk."""
    sandbox, numbers = story
    page = make_context(color_scheme=scheme, viewport={"width": 1440, "height": 900}).new_page()
    arrived(page, sandbox, VIEWS[view].format(**numbers))
    if view in {"events", "faults"}:
        page.get_by_role("switch", name="429, wait 2 seconds").click()
        expect(page.get_by_role("switch", name="429, wait 2 seconds", checked=True)).to_be_visible()
    shoot(page, f"{view}-{theme}")
    sandbox.faults.clear()


def test_pictures_of_a_phone(make_context, story, shoot):
    """The list and an event on a phone."""
    sandbox, numbers = story
    page = make_context(viewport={"width": 390, "height": 844}).new_page()
    shoot(arrived(page, sandbox, "#/events"), "phone")
    shoot(arrived(page, sandbox, f"#/events/{numbers['refused']}"), "phone-event")


def test_picture_of_the_beginning(make_context, shoot):
    """What there is before the first event."""
    with Sandbox.running() as sandbox:
        page = make_context().new_page()
        page.goto(sandbox.url)
        expect(page.locator("#empty-code")).to_contain_text("CUSTOMERIO_SITE_ID=dev")
        shoot(page, "empty")
