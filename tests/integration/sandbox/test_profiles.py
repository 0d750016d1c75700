"""The whole story of a person: what is known, how it became so, and what came of whom is gone."""

from __future__ import annotations

import time

import pytest

ROOT = "/_sandbox/v1"


@pytest.fixture(name="look")
def _look(web, sandbox):
    def look(path, **params):
        """Return what a GET shows."""
        return web.get(f"{sandbox.url}{ROOT}{path}", params={"workspace": sandbox.site_id, **params}).json()

    return look


@pytest.fixture(name="put")
def _put(http):
    def put(person="ada", **attributes):
        """Identify somebody."""
        return http.put(f"/api/v1/customers/{person}", json=attributes)

    return put


def test_each_attribute_has_a_history(look, put):
    """Every change with its time and its row, also of the type alone and of the end; what stays the same is none."""
    began = time.time()
    for plan in ("free", "free", "pro", "", 1, True):
        put(plan=plan)
    put(since=2020)
    shown = look("/people/ada")
    history = shown["history"]["plan"]
    assert [(change["value"], change["seq"]) for change in history] == [
        ("free", 1), ("pro", 3), (None, 4), (1, 5), (True, 6)
    ]  # fmt: skip
    assert all(began - 1 < change["at"] < time.time() + 1 for change in history)
    assert shown["attributes"] == {"plan": True, "since": 2020}


def test_a_timeline_is_told_request_by_request(look, http, put, sandbox):
    """The newest first; what was refused is in it, what an attempt replaced is not, and nothing of others."""
    put(plan="free")
    put("bob", plan="free")
    items = [
        {"type": "person", "action": "event", "identifiers": {"id": who}, "name": name}
        for who, name in (("ada", "a"), ("bob", "b"), ("ada", "c"))
    ]
    http.post("/api/v2/batch", json={"batch": items})
    sandbox.faults.script(["503", "ok*"])
    for _ in range(2):
        http.post("/api/v1/customers/ada/events", json={"name": "d"})
    http.post("/api/v1/customers/ada/events", json={"name": ""})

    timeline = look("/people/ada")["timeline"]
    told = [(group["status"], [row["name"] or row["verdict"] for row in group["rows"]]) for group in timeline]
    assert told == [(400, ["rejected"]), (200, ["d"]), (200, ["a", "c"]), (200, ["accepted"])]
    assert timeline[2]["path"] == "/api/v2/batch"


def test_a_line_of_a_list_says_how_it_goes(look, http, put):
    """How much came, what was lost, and when the last of it was."""
    put(plan="free")
    http.post("/api/v1/customers/ada/events", json={"name": "order"})
    http.post("/api/v1/customers/ada/events", json={"name": ""})
    (line,) = look("/people", brief=1)["items"]
    assert (line["key"], line["seen"], line["lost"], line["warned"], line["last_verdict"]) == (
        "ada",
        3,
        1,
        1,
        "rejected",
    )
    assert line["last_name"] == "event"  # of a nameless one its kind; of the one before "order"
    assert "attributes" not in line
    assert look("/people")["items"][0].items() >= line.items()


def test_a_retry_counts_once(look, http, put, sandbox):
    """As it is one row."""
    put(plan="free")
    sandbox.faults.script(["503", "503", "ok*"])
    for _ in range(3):
        http.post("/api/v1/customers/ada/events", json={"name": "order"})
    (line,) = look("/people", brief=1)["items"]
    assert (line["seen"], line["lost"]) == (2, 0)


def test_what_is_known_has_the_shape_of_the_app_api(look, put):
    """Identifiers, attributes with the time of each, devices; nothing that only the sandbox knows."""
    put(email="ada@example.com", plan="pro", unsubscribed=["odd"])
    known = look("/people/ada")["known"]["customer"]
    assert known["id"] == "ada"
    assert known["identifiers"] == {"id": "ada", "email": "ada@example.com", "cio_id": known["attributes"]["cio_id"]}
    assert known["attributes"]["plan"] == "pro"
    assert set(known["timestamps"]) == {"email", "plan", "unsubscribed"}
    assert (known["unsubscribed"], known["devices"]) == (False, [])


def test_a_merge_brings_the_past_along(look, http, put):
    """Both histories in the order in which they came, whom it was made of, and where the other one went."""
    put("old", plan="free", city="Oslo")
    put("new", plan="pro")
    http.post("/api/v1/customers/old/events", json={"name": "order"})
    http.post("/api/v1/merge_customers", json={"primary": {"id": "new"}, "secondary": {"id": "old"}})

    shown = look("/people/new")
    assert [(change["value"], change["seq"]) for change in shown["history"]["plan"]] == [("free", 1), ("pro", 2)]
    assert shown["merged_from"] == ["old"]
    assert "order" in [row["name"] for group in shown["timeline"] for row in group["rows"]]
    former = look("/people/old")
    assert former["error"]["code"] == "CIO-SBX-006"
    assert (former["gone"]["merged_into"], former["gone"]["suppressed"]) == ("new", False)


def test_who_is_suppressed_or_deleted_leaves_a_trace(look, http, put):
    """Nobody is called that any more, and why is said beside; of a stranger there is nothing to say."""
    for person in ("ada", "bob"):
        put(person, plan="pro")
    http.post("/api/v1/customers/ada/suppress")
    http.delete("/api/v1/customers/bob")
    put("ada", plan="late")

    assert look("/people/ada")["gone"]["suppressed"] is True
    rows = [row["verdict"] for group in look("/people/ada")["gone"]["timeline"] for row in group["rows"]]
    assert rows == ["ignored", "accepted", "accepted"]
    assert look("/people/bob")["gone"]["suppressed"] is False
    assert [group["rows"][0]["kind"] for group in look("/people/bob")["gone"]["timeline"]] == ["delete", "identify"]
    assert look("/people/nobody")["gone"] is None


def test_somebody_is_found_by_every_name(look, put):
    """Identifiers of any kind lead to the same story; one that is suppressed beside them is said."""
    put("ada", email="Ada@Example.com")
    cio_id = look("/people/ada")["cio_id"]
    for name in ("ada@example.com", cio_id):
        assert look(f"/people/{name}")["key"] == "ada"
    assert look("/people/ada")["suppressed"] is False
