"""The view of events: what arrives is there at once, judged, and can be found (B1-B8)."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.e2e.shop import event


def test_b02_an_event_appears_without_reload(visit, app):
    """What an app posts stands in the list within half a second."""
    page = visit()
    app.post("/api/v2/entity", json=event("signed_up")).raise_for_status()
    expect(page.get_by_role("rowheader", name="signed_up")).to_be_visible(timeout=500)
