"""Clear with a way back, the six levers, and a request as it came."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.store import Capacity, House
from cio_middleware.testing import Sandbox
from cio_middleware.testing.clock import ManualClock

ROOT = "/_sandbox/v1"
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture(name="call")
def _call(web, sandbox):
    def call(method, path, of=sandbox, json=None, **params):
        """Make a control call."""
        url, headers = f"{of.url}{ROOT}{path}", {"X-Cio-Sandbox": "1"}
        return web.request(method, url, json=json, headers=headers, params={"workspace": of.site_id, **params})

    return call


@pytest.fixture(name="track")
def _track(web):
    def track(sandbox, name="order", person="ada", **members):
        """Send one event by v1."""
        url = f"{sandbox.url}/api/v1/customers/{person}/events"
        return web.post(url, json={"name": name, **members}, auth=(sandbox.site_id, "key"))

    return track


def numbers(sandbox):
    """The rows that are listed."""
    return [row.seq for row in sandbox.events()]


def counters(sandbox):
    """What the summary counts."""
    summary = sandbox.summary()
    return {name: summary[name] for name in ("total", "good", "bad", "by_verdict", "by_name", "requests", "kept")}


def test_clear_empties_the_ledger_and_undo_brings_it_back(sandbox, call, track):
    """Rows, requests and counters as they were; and only once."""
    for name in ("a", "b", ""):
        track(sandbox, name)
    before = counters(sandbox)

    cleared = call("DELETE", "/events").json()
    assert (cleared["cleared"], numbers(sandbox), sandbox.requests()) == (3, [], [])
    assert counters(sandbox)["total"] == 0

    assert call("POST", "/undo", json={"token": cleared["undo"]}).json()["restored"] == 3
    assert (numbers(sandbox), counters(sandbox), len(sandbox.requests())) == ([1, 2, 3], before, 3)
    again = call("POST", "/undo", json={"token": cleared["undo"]})
    assert (again.status_code, "nothing to undo" in again.text) == (404, True)


def test_what_came_meanwhile_stays_behind_what_comes_back(sandbox, call, track):
    """In the order of their numbers, counted together; an attempt that was replaced meanwhile stays away."""
    sandbox.faults.script(["ok", "503", "ok*"])
    track(sandbox, "a")
    track(sandbox, "b", id=ULID)
    token = call("DELETE", "/events").json()["undo"]
    track(sandbox, "b", id=ULID)
    track(sandbox, "c")
    assert numbers(sandbox) == [3, 4]

    assert call("POST", "/undo", json={"token": token}).json()["restored"] == 1
    assert numbers(sandbox) == [1, 3, 4]
    assert counters(sandbox)["total"] == 3
    assert counters(sandbox)["by_verdict"]["fault"] == 0
    assert counters(sandbox)["requests"] == 4


def test_clear_forgets_no_person_and_no_id(sandbox, call, track):
    """To forget these is what a reset is for."""
    track(sandbox, id=ULID)
    call("DELETE", "/events")
    track(sandbox, id=ULID)
    assert [row.verdict for row in sandbox.events()] == ["duplicate"]
    assert "ada" in sandbox.people


def test_a_part_can_be_cleared(sandbox, call, track):
    """What is older than a row; it comes back in front of it."""
    for name in ("a", "b", "c"):
        track(sandbox, name)
    cleared = call("DELETE", "/events", before=3).json()
    assert (cleared["cleared"], numbers(sandbox), counters(sandbox)["total"]) == (2, [3], 1)
    call("POST", "/undo", json={"token": cleared["undo"]})
    assert (numbers(sandbox), counters(sandbox)["total"]) == ([1, 2, 3], 3)


@pytest.mark.parametrize(("seconds", "status"), [(9.9, 200), (10.1, 404)])
def test_there_are_ten_seconds_to_think(call, track, seconds, status):
    """After them what was cleared is gone, and its memory is free."""
    clock = ManualClock()
    with Sandbox.running(house=House(monotonic=clock.monotonic)) as own:
        track(own)
        token = call("DELETE", "/events", of=own).json()["undo"]
        clock.advance(seconds)
        assert call("POST", "/undo", of=own, json={"token": token}).status_code == status


def test_a_reset_has_no_way_back(sandbox, call, track):
    """Also not to what was cleared before it."""
    track(sandbox)
    token = call("DELETE", "/events").json()["undo"]
    sandbox.reset()
    assert call("POST", "/undo", json={"token": token}).status_code == 404


def test_undo_keeps_within_the_room_there_is(call, track):
    """The oldest of what comes back goes first, and is counted as dropped."""
    with Sandbox.running(house=House(capacity=Capacity(events=3))) as own:
        for name in ("a", "b", "c"):
            track(own, name)
        token = call("DELETE", "/events", of=own).json()["undo"]
        for name in ("d", "e"):
            track(own, name)
        call("POST", "/undo", of=own, json={"token": token})
        assert (numbers(own), own.summary()["evicted"], own.summary()["total"]) == ([3, 4, 5], 2, 5)


@pytest.mark.parametrize("body", [None, [], {}, {"token": 1}, {"token": "é"}, {"token": "never"}])
def test_a_token_that_is_none_undoes_nothing(sandbox, call, track, body):
    """And is refused with what to type, or with why it is too late."""
    track(sandbox)
    call("DELETE", "/events")
    assert call("POST", "/undo", json=body).status_code in {400, 404}
    assert numbers(sandbox) == []


def test_a_workspace_with_something_to_undo_does_not_give_way(call, track):
    """What was cleared, and who is known, would be lost with it."""
    with Sandbox.running(house=House(capacity=Capacity(workspaces=1))) as own:
        track(own)
        call("DELETE", "/events", of=own)
        with own.workspace("another") as another:
            assert track(another).status_code == 503
        own.reset()
        with own.workspace("another") as another:
            assert track(another).status_code == 200


def test_six_levers_are_always_there(sandbox, call):
    """With a name to read out, the rule that pulls them, and whether they are pulled."""
    items = call("GET", "/levers").json()["items"]
    assert [item["id"] for item in items] == [f"lever-{number}" for number in range(1, 7)]
    assert [item["do"]["type"] for item in items] == ["status", "status", "hang", "reset", "latency", "partial"]
    assert not any(item["pulled"] for item in items)
    assert items[0]["label"] == "429, wait 2 seconds"


def test_a_lever_is_pulled_and_put_back(sandbox, call, track):
    """By its id alone or by its rule; it then is a rule as any other, with what it did."""
    call("PUT", "/faults/lever-1")
    rule = call("GET", "/levers").json()["items"][1]
    put = {name: rule[name] for name in ("label", "match", "when", "do")}
    assert call("PUT", "/faults/lever-2", json=put).status_code == 200
    assert track(sandbox).status_code == 429
    pulled = [(item["id"], item["hits"]) for item in call("GET", "/levers").json()["items"] if item["pulled"]]
    assert pulled == [("lever-1", 1), ("lever-2", 0)]

    call("DELETE", "/faults/lever-1")
    assert track(sandbox).status_code == 500
    call("DELETE", "/faults")
    assert track(sandbox).status_code == 200
    assert not any(item["pulled"] for item in call("GET", "/levers").json()["items"])


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_what_is_no_lever_needs_a_rule(sandbox, web, body):
    """An empty body pulls a lever, and nothing else."""
    url, headers = f"{sandbox.url}{ROOT}/faults/lever-7", {"X-Cio-Sandbox": "1"}
    assert web.put(url, content=body, headers=headers).status_code == 400


def test_a_request_is_shown_as_it_came(sandbox, call, web):
    """With what was answered and its rows; the credentials it came with are nowhere."""
    batch = [
        {"type": "person", "action": "event", "identifiers": {"id": "ada"}, "name": "a"},
        {"type": "person", "action": "event", "identifiers": {}, "name": "b"},
    ]
    headers = {"Cookie": "session=a-secret", "X-Note": "kept"}
    web.post(f"{sandbox.url}/api/v2/batch", json={"batch": batch}, auth=(sandbox.site_id, "a-secret"), headers=headers)

    reply = call("GET", "/requests/r1")
    shown = reply.json()
    assert (shown["id"], shown["method"], shown["path"], shown["status"]) == ("r1", "POST", "/api/v2/batch", 207)
    assert ["x-note", "kept"] in shown["headers"]
    assert '"batch_index":1' in shown["reply_body"].replace(" ", "")
    assert [row["name"] for row in shown["rows"]] == ["a", "b"]
    assert "a-secret" not in reply.text
    assert call("GET", "/requests/r9").status_code == 404


def test_what_was_cleared_before_an_import_stays_away(web, sandbox, call, track):
    """Its rows have the numbers of those that were read in, and would be counted twice."""
    track(sandbox)
    capture = web.get(f"{sandbox.url}{ROOT}/export.ndjson", params={"workspace": sandbox.site_id}).content
    token = call("DELETE", "/events").json()["undo"]
    url, headers = f"{sandbox.url}{ROOT}/import", {"X-Cio-Sandbox": "1", "X-Cio-Workspace": sandbox.site_id}
    assert web.post(url, content=capture, headers=headers).status_code == 200

    assert call("POST", "/undo", json={"token": token}).status_code == 404
    assert (numbers(sandbox), counters(sandbox)["total"], counters(sandbox)["requests"]) == ([1], 1, 1)
