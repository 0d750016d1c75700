"""
A real Chromium on the sandbox's page, for tests named after the acceptance checks that they hold.

Nothing here waits by the clock: `expect` waits for what the page shows, `eventually` for everything else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cio_middleware.testing import Sandbox

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

HERE = Path(__file__).parent
PATIENCE_MS = 20_000
"""How long a condition may take to come true: long, since other things may run on this machine."""
INSTALL = "apt-get install -y chromium"
collect_ignore_glob = [] if find_spec("playwright") else ["test_*.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything beside this file needs a browser."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session", name="browser")
def _browser() -> Iterator[Browser]:
    """One browser for the whole run: Debian's, which the driver is told where to find."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip(f"no chromium here. Type: {INSTALL}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=os.geteuid() != 0)
        yield browser
        browser.close()


@pytest.fixture(name="make_context")
def _make_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Builds browser profiles: 1440 by 900 and light, with what the test asks for on top."""
    made: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        usual: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light", "locale": "en-GB"}
        context = browser.new_context(**{**usual, **options})
        context.set_default_timeout(PATIENCE_MS)
        made.append(context)
        return context

    yield make
    for context in made:
        context.close()


@pytest.fixture(name="context")
def _context(make_context: Callable[..., BrowserContext]) -> BrowserContext:
    """A browser profile of the test's own."""
    return make_context(permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture(name="said")
def _said() -> list[str]:
    """What the pages of this test said in the console, and threw; a test that expects none looks here."""
    return []


@pytest.fixture(name="page")
def _page(context: BrowserContext, said: list[str]) -> Page:
    """An empty tab."""
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return page


@pytest.fixture(name="visit")
def _visit(page: Page, sandbox: Sandbox) -> Callable[..., Page]:
    """Opens the page on the test's own workspace and waits until it follows the stream."""

    def visit(where: str = "#/events", *, tab: Page | None = None) -> Page:
        tab = tab or page
        tab.goto(f"{sandbox.url}/?workspace={sandbox.site_id}{where}")
        tab.wait_for_selector("html[data-ready]", state="attached")
        return tab

    return visit


@pytest.fixture(name="app")
def _app(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """An app's own connection to Customer.io."""
    with httpx.Client(base_url=sandbox.url, auth=(sandbox.site_id, "key"), trust_env=False, timeout=30) as client:
        yield client


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the screenshots go; without these they are taken and thrown away."""
    parser.addoption("--screenshots", default=None, help="write the pictures of the documentation into this folder")
    parser.addoption("--screenshots-too", default=None, help="write those that no page shows into this folder")
