"""What went wrong, each kind once, and what came when."""

from __future__ import annotations

import pytest

ROOT = "/_sandbox/v1"
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture(name="look")
def _look(web, sandbox):
    def look(path, **params):
        """Return what a GET shows."""
        return web.get(f"{sandbox.url}{ROOT}{path}", params={"workspace": sandbox.site_id, **params}).json()

    return look


@pytest.fixture(name="identify")
def _identify(http):
    def identify(person="ada", **attributes):
        """Identify somebody."""
        return http.put(f"/api/v1/customers/{person}", json=attributes)

    return identify


def test_nothing_wrong_is_said_with_a_number(look, identify):
    """An empty list, and how many events that is true of."""
    identify()
    assert look("/problems") == {"items": [], "total_events": 1}


def test_a_kind_of_problem_is_told_once(look, http, identify):
    """With its count, first and last time, cause and fix, and the three newest events of it."""
    identify()
    for _ in range(4):
        http.post("/api/v1/customers/ada/events", json={"name": "x" * 131})
    http.post("/api/v1/customers/ada/events", json={"name": "order", "timestamp": "now"})

    long, late = look("/problems")["items"]
    assert (long["code"], long["field"], long["name"], long["count"]) == ("E-name-too-long", "name", "x" * 131, 4)
    assert long["explain"] == "the name is 131 bytes, the limit is 100"
    assert long["message"] == "event name cannot be longer than 100 bytes"
    assert long["fix"]
    assert long["verdict"] == "rejected"
    assert [sample["seq"] for sample in long["samples"]] == [5, 4, 3]
    assert long["samples"][0]["headline"].startswith("rejected: the name is 131 bytes")
    assert long["first"] <= long["last"]
    assert sum(long["spark"]) == 4
    assert (late["code"], late["count"]) == ("E-timestamp", 1)


def test_warnings_and_unknown_endpoints_are_problems_too(look, http, sandbox):
    """What was answered with success, and what was answered with 404; each in the handle of a test as well."""
    http.post("/api/v1/customers/ada/events", json={"name": "order", "id": ULID})
    http.post("/api/v1/customers/ada", json={})
    found = {item["code"]: item for item in look("/problems")["items"]}
    assert set(found) == {"W-no-identify-yet", "CIO-SBX-002"}
    assert "Did you mean" in found["CIO-SBX-002"]["fix"]
    assert {problem.code for problem in sandbox.problems} == set(found)


def test_a_retry_that_came_too_soon_is_a_problem(look, http, identify, sandbox):
    """An injected fault is none, and to come back before one was asked to is."""
    identify()
    sandbox.faults.script(["429;retry_after=9", "ok*"])
    for _ in range(2):
        http.post("/api/v1/customers/ada/events", json={"name": "order", "id": ULID})
    (problem,) = look("/problems")["items"]
    assert (problem["code"], problem["field"], problem["name"]) == ("W-retry-too-soon", "Retry-After", "order")
    assert "Retry-After asked for 9 s" in problem["explain"]


def test_the_series_has_bars_and_times(look, identify):
    """Five minutes in bars of two seconds, unless something else is asked for."""
    for _ in range(3):
        identify()
    drawn = look("/series")
    assert (len(drawn["bars"]), drawn["step"], drawn["to"] - drawn["from"]) == (150, 2, 300)
    assert sum(bar["accepted"] for bar in drawn["bars"]) == 3
    assert len(look("/series", window=60, step=10)["bars"]) == 6
    assert "Type a window" in look("/series", window=60, step=0)["error"]["message"]
