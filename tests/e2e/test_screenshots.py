"""
The pictures of the documentation, taken of the page as it is: `make screenshots` writes them.

Without ``--screenshots=FOLDER`` they are taken all the same, so that a view which no longer draws fails here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from cio_middleware.sandbox.store import House
from cio_middleware.testing import Sandbox
from tests.e2e.shop import event, identify, ulid

SMALLEST = 10_000
SHOWN = ("event-day", "events-night", "person-day", "problems-day", "faults-day", "phone")
"""What the documentation shows; the others are for whoever changes the page: --screenshots-too."""
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
        yield sandbox, tell(Shop(sandbox, app, clock))


class Shop:
    """The app of the story."""

    def __init__(self, sandbox: Sandbox, app: httpx.Client, clock: Clock) -> None:
        self.sandbox, self.app, self.clock = sandbox, app, clock

    def post(self, item: dict[str, Any], wait: float = 0.0) -> int:
        """Send an item, so many seconds after the one before, and return the number of its row."""
        self.clock.behind = max(0.5, self.clock.behind - wait)
        self.app.post("/api/v2/entity", json=item)
        return int(self.sandbox.cursor)


PEOPLE = ("ada@lovelace.dev", "grace-h", "linus-t", "barbara-l", "margaret", "katherine")


def tell(shop: Shop) -> dict[str, int]:
    """Send it all, and return the numbers of what the pictures open."""
    an_ordinary_hour(shop)
    some_of_each_kind(shop)
    return a_bad_minute(shop)


def an_ordinary_hour(shop: Shop) -> None:
    """Sign-ups and clicks, with a rush of orders of which some meet a 503."""
    for person in PEOPLE[:2]:
        shop.post(identify(person, plan="free", email=f"{person.partition('@')[0]}@example.com"), 1)
    shop.post(identify("ada@lovelace.dev", email="ada@lovelace.dev", plan="free", city="London"), 4)
    for tick in range(60):
        if tick == 8:
            for other in PEOPLE[2:]:
                shop.post(identify(other, plan="trial", email=f"{other}@example.com"))
        name = ("page_viewed", "product_added", "signed_in", "feature_used")[tick * 5 % 4]
        shop.post(event(name, PEOPLE[tick * 7 % len(PEOPLE)], plan="pro"), 3.1 + tick % 5 / 2)
        for extra in range(tick % 4 + 1 if 25 <= tick <= 31 else 0):
            shop.sandbox.faults.script(["503"] if extra % 2 else ["ok"])
            shop.post(event("order_completed", PEOPLE[extra], total=42 + tick), 0.2)


def some_of_each_kind(shop: Shop) -> None:
    """A device, a visitor without a name, a company."""
    device = {"device": {"id": "apns-71f0", "platform": "ios"}}
    shop.app.put("/api/v1/customers/ada@lovelace.dev/devices", json=device)
    visit = {**event("/pricing", "x"), "action": "page", "identifiers": {"anonymous_id": "7f3c"}, "id": ulid()}
    shop.post(visit, 6)
    company = {"object_type_id": "1", "object_id": "acme-inc"}
    link = [{"identifiers": {"id": "grace-h"}}]
    shop.post({"type": "object", "action": "identify", "identifiers": company, "cio_relationships": link}, 2)


def a_bad_minute(shop: Shop) -> dict[str, int]:
    """An invoice that never gets in, a repeat, a wrong date, a name that is too long, and a throttle."""
    shop.sandbox.faults.script(["500", "500", "500"])
    invoice = event("invoice_paid", "barbara-l", total=99)
    for wait in (2, 1, 2.5):
        shop.post(invoice, wait)
    trial = event("trial_started", "linus-t", plan="team")
    shop.post(trial, 2)
    shop.post(trial, 0.4)
    shop.post(identify("grace-h", plan="team", created_at=1795486471000), 2)
    for _ in range(3):
        refused = shop.post(event(f"Order Completed For Customer 8812 {'and so on ' * 10}", "katherine"), 1.3)
    shop.sandbox.faults.script(["429;retry_after=2", "429;retry_after=2", "ok*"])
    order = event("order_completed", "ada@lovelace.dev", total=42, currency="EUR", items=2)
    for wait in (2, 2.1, 2.2):
        retried = shop.post(order, wait)
    shop.post(identify("ada@lovelace.dev", plan="pro", created_at=1795486471), 1.2)
    shop.clock.behind = 0.0
    return {"retried": retried, "refused": refused}


@pytest.fixture(name="shoot")
def _shoot(request, tmp_path):
    """Takes a picture into the folder that was asked for."""
    shown, others = (request.config.getoption(name) for name in ("--screenshots", "--screenshots-too"))

    def shoot(page: Page, name: str) -> None:
        folder = Path((shown if name in SHOWN else None) or others or tmp_path)
        folder.mkdir(exist_ok=True)
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


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("width", "scheme", "name"), [(390, "light", "phone"), (320, "dark", "phone-small")])
def test_pictures_of_a_phone(make_context, story, shoot, view, width, scheme, name):
    """Every view on a phone, and by night on a small one."""
    sandbox, numbers = story
    page = make_context(color_scheme=scheme, viewport={"width": width, "height": 844}).new_page()
    arrived(page, sandbox, VIEWS[view].format(**numbers))
    shoot(page, name if view == "events" else f"{name}-{view}")


def test_picture_of_the_beginning(make_context, shoot):
    """What there is before the first event."""
    with Sandbox.running() as sandbox:
        page = make_context().new_page()
        page.goto(sandbox.url)
        expect(page.locator("#empty-code")).to_contain_text("CUSTOMERIO_SITE_ID=dev")
        shoot(page, "empty")
