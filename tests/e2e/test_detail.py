"""One event, whole: what to copy, what comes late, and what never came (B15, B16, B20, B21)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.shop import event, identify


def opened(page: Page, name: str) -> Page:
    """The page with the detail of an event open."""
    page.locator("tr.row", has_text=name).first.click()
    expect(page.locator("#detail-h")).to_have_text(name)
    return page


def copied(page: Page, what: str) -> str:
    """What a copy button puts on the clipboard."""
    page.get_by_role("button", name=what).click()
    expect(page.locator(".toast")).to_contain_text("Copied")
    return str(page.evaluate("() => navigator.clipboard.readText()"))


def test_b15_copy_as_pytest_is_green(visit, app, tmp_path):
    """The test that is copied passes as it is, in a run of pytest of its own."""
    app.post("/api/v2/entity", json=event("order_paid", total=42, note='it\'s "quoted"')).raise_for_status()
    text = copied(opened(visit(), "order_paid"), "Copy as pytest")
    (tmp_path / "test_copied.py").write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_copied.py")],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=180,
        env={**os.environ, "CUSTOMERIO_ENV": ""},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + text
    assert "1 passed" in ran.stdout


@pytest.mark.parametrize(("name", "verdict"), [("order_paid", "accepted"), ("z" * 101, "rejected")])
def test_b16_copy_as_curl_replays_to_the_same_verdict(visit, app, sandbox, name, verdict):
    """The command that is copied sends the same again, to the same verdict."""
    app.post("/api/v2/entity", json=identify()).raise_for_status()
    app.post("/api/v2/entity", json=event(name, total=42))
    text = copied(opened(visit(), name), "Copy as curl")
    sandbox.reset()
    app.post("/api/v2/entity", json=identify()).raise_for_status()
    subprocess.run(["bash", "-c", text], check=True, capture_output=True, timeout=120)  # noqa: S607
    assert [seen.verdict for seen in sandbox.events(name)] == [verdict]


def test_b20_context_that_comes_late_updates_the_open_detail(visit, app, sandbox):
    """While a detail is open, what the app says afterwards of where it was captured appears in it."""
    late = event("order_paid")
    app.post("/api/v2/entity", json=late).raise_for_status()
    page = opened(visit(), "order_paid")
    expect(page.locator("#context-pending")).to_be_visible()
    said = {
        "event_id": late["id"], "stage": "captured", "route": "/checkout", "method": "POST", "status": 201,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "call_site": "shop/views.py:88 in checkout",
    }  # fmt: skip
    send_context(sandbox, said)
    detail = page.locator("#detail")
    expect(detail).to_contain_text("shop/views.py:88 in checkout")
    expect(detail).to_contain_text("POST /checkout")
    expect(detail).to_contain_text("4bf92f3577b34da6a3ce929d0e0e4736")
    expect(page.locator("#context-pending")).to_have_count(0)


def test_b21_an_event_that_was_never_sent_says_why(visit, sandbox):
    """What the app dropped before it left is a row with its reason."""
    page = visit()
    dropped = {
        "event_id": event("x")["id"],
        "stage": "never_sent",
        "drop_reason": "queue_full",
        "name": "order_paid",
        "person": "ada",
        "kind": "event",
    }
    send_context(sandbox, dropped)
    lost = page.locator("tr.row", has_text="order_paid")
    expect(lost.locator("td.verdict svg")).to_have_attribute("data-verdict", "never_sent")
    lost.click()
    expect(page.locator("#detail")).to_contain_text("queue_full")


def send_context(sandbox, *said: dict) -> None:
    """Tell the sandbox what only the app knows, as the client's side channel does."""
    lines = "".join(json.dumps(each) + "\n" for each in said)
    reply = httpx.post(
        f"{sandbox.url}/_sandbox/v1/context", params={"workspace": sandbox.site_id}, content=lines,
        headers={"X-Cio-Sandbox": "1", "Content-Type": "application/x-ndjson"}, trust_env=False,
    )  # fmt: skip
    reply.raise_for_status()
