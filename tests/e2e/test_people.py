"""People: what is known of one, and where it came from (B9)."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.shop import event, identify


def test_b09_a_person_has_a_history(visit, app):
    """Each attribute says which event set it, and what it was before; devices and events stand beside."""
    for plan in ("free", "pro"):
        app.post("/api/v2/entity", json=identify(plan=plan, email="ada@lovelace.dev")).raise_for_status()
    app.put("/api/v1/customers/ada/devices", json={"device": {"id": "tok", "platform": "ios"}}).raise_for_status()
    app.post("/api/v2/entity", json=event("order_paid")).raise_for_status()
    page = visit("#/people")
    page.get_by_role("searchbox", name="Search people").fill("lovelace")
    page.get_by_role("rowheader", name="ada").get_by_role("link").click()
    plan = page.get_by_role("row", name="plan")
    expect(plan).to_contain_text('"pro"')
    plan.locator("summary").click()
    expect(plan.locator(".history")).to_contain_text('"free"')
    expect(page.locator(".person")).to_contain_text("ios")
    expect(page.locator(".moments")).to_contain_text("order_paid")
    page.locator(".moments").get_by_role("link", name="order_paid").click()
    expect(page.locator("#detail-h")).to_have_text("order_paid")


def test_b09_a_merge_is_told(visit, app):
    """Who absorbed somebody says so, and has what they had."""
    app.post("/api/v2/entity", json=identify("ada", plan="pro")).raise_for_status()
    app.post("/api/v2/entity", json=identify("ada2", city="London")).raise_for_status()
    merge = {"type": "person", "action": "merge", "primary": {"id": "ada"}, "secondary": {"id": "ada2"}}
    app.post("/api/v2/entity", json=merge).raise_for_status()
    page = visit("#/people/ada")
    expect(page.locator("#merged")).to_contain_text("ada2")
    expect(page.get_by_role("row", name="city")).to_contain_text('"London"')


def test_b09_a_suppressed_person_has_a_banner(visit, app):
    """A person whose calls are ignored says so, before anything else."""
    app.post("/api/v2/entity", json=identify("ada", plan="pro")).raise_for_status()
    app.post("/api/v1/customers/ada/suppress").raise_for_status()
    page = visit("#/people/ada")
    expect(page.locator("#suppressed")).to_contain_text("Suppressed")


def test_problems_are_grouped_by_cause(visit, app):
    """One cause is one entry with its count, its fix and a way to its events; without any, that is said."""
    app.post("/api/v2/entity", json=identify()).raise_for_status()
    page = visit("#/problems")
    expect(page.locator("#no-problems")).to_contain_text("No problems in 1 event.")
    for _ in range(3):
        app.post("/api/v2/entity", json=event("w" * 131))
    cause = page.locator(".cause")
    expect(cause).to_have_count(1)
    expect(cause.locator(".count")).to_have_text(re.compile("^3"))
    expect(cause.locator(".fix")).to_be_visible()
    expect(page.locator("#n-problems")).to_have_text("1")
    assert page.title().startswith("■ 1")
    cause.get_by_role("button", name="Show 3 events").click()
    expect(page.locator("tr.row")).to_have_count(3)


def test_faults_are_written_as_a_sentence(visit, app, sandbox):
    """A rule is put together as a sentence, acts, counts its hits and is put back."""
    page = visit("#/faults")
    page.get_by_role("combobox", name="Answer").select_option("status")
    page.get_by_role("spinbutton", name="Status").fill("503")
    page.get_by_role("button", name="Add rule").click()
    rule = page.locator(".rule")
    expect(rule).to_contain_text("the first 2 times: answer 503")
    assert app.post("/api/v2/entity", json=event("order_paid")).status_code == 503
    expect(rule.locator(".hits")).to_have_text("1 hit")
    page.get_by_role("textbox", name="Steps").fill("500, ok")
    page.get_by_role("button", name="Play").click()
    expect(page.locator(".playing")).to_contain_text("step 1 of 2")
    page.get_by_role("button", name="Put all back").click()
    expect(page.locator("#acting")).to_contain_text("Nothing")
    assert app.post("/api/v2/entity", json=event("order_paid")).status_code == 200


def test_differences_are_listed(visit):
    """What is guessed stands on the page, each with its source and how sure it is."""
    page = visit("#/differences")
    expect(page.locator(".cause").first).to_contain_text("How sure")
    assert page.locator(".cause").count() > 5
