"""People: what is known of one, and where it came from (B9)."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from cio_middleware.sandbox.scenarios import SCENARIOS
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
    expect(page.locator(".moments")).to_contain_text("identify")


def test_b09_a_person_who_was_merged_leads_to_whom_they_are_now(visit, app):
    """The page of somebody who became part of somebody else says of whom, and still has their events."""
    app.post("/api/v2/entity", json=identify("ada", plan="pro")).raise_for_status()
    app.post("/api/v2/entity", json=identify("ada2", city="London")).raise_for_status()
    merge = {"type": "person", "action": "merge", "primary": {"id": "ada"}, "secondary": {"id": "ada2"}}
    app.post("/api/v2/entity", json=merge).raise_for_status()
    page = visit("#/people/ada2")
    page.locator("#merged-into").get_by_role("link", name="ada").click()
    expect(page.locator("#merged")).to_contain_text("ada2")


def test_b09_the_timeline_stands_by_request(visit, app):
    """What one request brought about a person stands together, under its address and its answer."""
    batch = [identify("ada", plan="pro"), event("first"), event("second"), event("other", "grace")]
    app.post("/api/v2/batch", json={"batch": batch}).raise_for_status()
    app.post("/api/v2/entity", json=event("third")).raise_for_status()
    page = visit("#/people/ada")
    moments = page.locator(".moments > li")
    expect(moments).to_have_count(2)
    expect(moments.nth(0)).to_contain_text("POST /api/v2/entity, 200")
    expect(moments.nth(1)).to_contain_text("POST /api/v2/batch, 200")
    expect(moments.nth(1).locator("li a")).to_have_text(["identify", "first", "second"])


def test_the_list_says_what_became_of_the_last_event(visit, app):
    """Beside each person stands the last event, stored or not, how many there were, and how many had a problem."""
    app.post("/api/v2/entity", json=identify("ada")).raise_for_status()
    app.post("/api/v2/entity", json=event("paid")).raise_for_status()
    app.post("/api/v2/entity", json=event("x" * 131))
    page = visit("#/people")
    line = page.locator(".people tbody tr")
    expect(line.locator(".last")).to_contain_text("rejected, xxx")
    expect(line.locator("td.number")).to_have_text(["3", "1"])
    expect(page.locator("#side-people")).to_contain_text("rejected")
    expect(page.locator("#n-people")).to_have_text("1")


def test_an_identify_says_what_it_changed(visit, app):
    """The third view of an identify's payload is what it changed: each attribute as it was and as it is."""
    app.post("/api/v2/entity", json=identify(plan="free", city="London")).raise_for_status()
    app.post("/api/v2/entity", json=identify(plan="pro", city="London")).raise_for_status()
    page = visit("#/events/2")
    page.get_by_role("button", name="Changes").click()
    expect(page.locator("#detail .changes li")).to_have_text(
        [re.compile('was plan: "free"'), re.compile('is plan: "pro"')]
    )
    page.get_by_role("button", name="Pretty").click()
    expect(page.locator("#detail .payload")).to_contain_text('"London"')


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


def test_a_scenario_starts_counts_down_and_stops(visit, app, sandbox, page):
    """Scenarios are those of the server; one that runs says so, how long it still does, and stops where it started."""
    page.clock.install()
    visit("#/faults")
    expect(page.locator(".scenario")).to_have_count(len(SCENARIOS))
    outage = page.locator(".scenario", has_text="outage-30s")
    outage.click()
    expect(outage).to_have_attribute("aria-pressed", "true")
    expect(outage).to_be_focused()
    assert app.post("/api/v2/entity", json=event("order_paid")).status_code == 503
    expect(page.locator(".rule .hits")).to_contain_text(re.compile(r"1 hit, \d+ s left"))
    page.clock.fast_forward(31_000)
    expect(page.locator("#acting")).to_contain_text("Nothing")
    expect(page.locator("#n-faults")).to_have_text("0")
    throttle = page.locator(".scenario", has_text="throttle")
    throttle.click()
    expect(throttle).to_have_attribute("aria-pressed", "true")
    throttle.click()
    expect(throttle).to_have_attribute("aria-pressed", "false")
    assert [rule["id"] for rule in sandbox.faults.rules()] == []


def test_differences_are_listed(visit):
    """What is guessed stands on the page, each with its source and how sure it is."""
    page = visit("#/differences")
    expect(page.locator(".cause").first).to_contain_text("How sure")
    assert page.locator(".cause").count() > 5
