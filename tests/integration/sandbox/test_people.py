"""What becomes of the people of a workspace, verb by verb."""

from __future__ import annotations

import itertools
import time

import pytest

from cio_middleware.sandbox.fidelity import Fidelity
from cio_middleware.sandbox.store import House
from cio_middleware.testing import Sandbox

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@pytest.fixture(name="ulid")
def _ulid():
    numbers = itertools.count()
    return lambda: "01ARZ3NDEKTSV4RRFFQ69G5F" + "".join(ALPHABET[part] for part in divmod(next(numbers), 32))


@pytest.fixture(name="send")
def _send(http):
    def send(action, subject="person", *, identifiers=None, **members):
        person = {"identifiers": identifiers or {"id": "ada"}} if action != "merge" else {}
        reply = http.post("/api/v2/entity", json={"type": subject, "action": action, **person, **members})
        assert reply.status_code == 200, reply.text
        return reply

    return send


def verdicts(sandbox):
    """Return the verdicts so far."""
    return [row.verdict for row in sandbox.events()]


def test_an_event_with_a_ulid_seen_before_is_ignored(send, sandbox, ulid):
    """A repeat, in any case of letters, is answered with success and reaches nobody twice."""
    event_id = ulid()
    for spelling in (event_id, event_id, event_id.lower()):
        send("event", name="order", id=spelling)

    assert sandbox.people["ada"].events == [event_id]
    assert verdicts(sandbox) == ["accepted_but", "duplicate", "duplicate"]
    assert (sandbox.count("order"), sandbox.duplicates("order")) == (1, 2)
    assert [row.attempts for row in sandbox.events()] == [1, 2, 3]


def test_an_id_that_is_no_ulid_does_not_deduplicate(send, sandbox):
    """Only the form of a ULID makes Customer.io look for repeats."""
    for _ in range(2):
        send("event", name="order", id="order-17")
    assert sandbox.people["ada"].events == ["order-17", "order-17"]


def test_an_identify_that_is_older_than_the_newest_change_is_skipped(send, sandbox):
    """Success is answered, and the newer value stays; the same second is not older."""
    send("identify", attributes={"plan": "pro"}, timestamp=200)
    send("identify", attributes={"plan": "free"}, timestamp=199)
    send("identify", attributes={"seats": 3}, timestamp=200)

    assert sandbox.people["ada"].attributes == {"plan": "pro", "seats": 3}
    assert verdicts(sandbox) == ["accepted", "ignored", "accepted"]
    assert sandbox.bad[0].errors[0].code == "I-skipped-update"


def test_an_identify_by_v1_is_ordered_by_its_timestamp_attribute(http, sandbox):
    """`_timestamp` orders and is stored as no attribute."""
    for stamp, plan in ((200, "pro"), (100, "free")):
        http.put("/api/v1/customers/ada", json={"plan": plan, "_timestamp": stamp})
    assert sandbox.people["ada"].attributes == {"plan": "pro"}


def test_an_identify_without_a_time_counts_as_now(send, sandbox):
    """So a replay of something old does not overwrite it."""
    send("identify", attributes={"plan": "pro"})
    send("identify", attributes={"plan": "free"}, timestamp=int(time.time()) - 100)
    assert sandbox.people["ada"].attributes == {"plan": "pro"}


def test_null_and_empty_text_remove_an_attribute(send, sandbox):
    """Everything else is set."""
    send("identify", attributes={"a": 1, "b": 2, "c": 3}, timestamp=1)
    send("identify", attributes={"a": None, "b": "", "c": 0}, timestamp=2)
    assert sandbox.people["ada"].attributes == {"c": 0}


def test_an_event_before_any_identify_waits_for_its_person(send, sandbox, ulid):
    """It is stored with a warning, and belongs to whoever is identified by that identifier."""
    event_id = ulid()
    send("event", name="order", id=event_id, identifiers={"email": "Ada@x.y"})
    assert not sandbox.people["ada@x.y"].identified
    assert [warning.code for warning in sandbox.good[0].warnings] == ["W-no-identify-yet"]

    send("identify", attributes={"email": "ada@x.y"})

    assert sandbox.people["ada"].identified
    assert sandbox.people["ada"].events == [event_id]


def test_a_person_is_found_by_what_they_are_called_and_by_what_was_sent(send, sandbox):
    """An event addressed by email went to ada, and is listed under both."""
    send("identify", attributes={"email": "ada@x.y"})
    send("event", name="order", identifiers={"email": "ada@x.y"})
    for key in ("ada", "ada@x.y"):
        assert [row.person for row in sandbox.events("order", person=key)] == ["ada"]
    assert sandbox.events("order", person="bob") == []


def test_what_an_anonymous_visitor_did_follows_them(http, send, sandbox, ulid):
    """An identify with the anonymous id merges earlier events, and later ones go to the person at once."""
    before, after, own = ulid(), ulid(), ulid()
    http.post("/api/v1/events", json={"name": "visit", "anonymous_id": "v1", "id": before})
    assert sandbox.people["v1"].events == [before]
    assert sandbox.events("visit")[0].person == "v1"

    send("event", name="login", id=own)
    http.put("/api/v1/customers/ada", json={"anonymous_id": "v1"})
    send("event", name="visit", id=after, identifiers={"anonymous_id": "v1"})

    assert sandbox.people["ada"].events == [before, own, after]
    assert sandbox.events("visit")[1].person == "ada"
    assert sandbox.people["v1"].key == "ada"


def test_an_anonymous_id_is_linked_once(http, sandbox):
    """A second person who claims it gets nothing."""
    for person in ("ada", "bob"):
        http.put(f"/api/v1/customers/{person}", json={"anonymous_id": "v1"})
    assert sandbox.people["v1"].key == "ada"
    assert "anonymous_id" not in sandbox.people["bob"].identifiers


def test_an_anonymous_event_comes_too_late_after_five_minutes(web):
    """The clock is the house's own, so the test does not wait."""
    now = [1000.0]
    with Sandbox.running(house=House(clock=lambda: now[0])) as sandbox:
        url, auth = f"{sandbox.url}/api/v1", ("dev", "key")
        web.put(f"{url}/customers/ada", json={"anonymous_id": "v1"}, auth=auth)
        for later in (300.0, 301.0):
            now[0] = 1000.0 + later
            web.post(f"{url}/events", json={"name": "visit", "anonymous_id": "v1"}, auth=auth)
        assert [row.verdict for row in sandbox.events("visit")] == ["accepted_but", "ignored"]


def test_an_invitation_reaches_nobody_and_is_taken(http, sandbox):
    """An event without an anonymous id names its recipient."""
    reply = http.post("/api/v1/events", json={"name": "invite", "data": {"recipient": "eve@x.y"}})
    assert reply.status_code == 200
    assert sandbox.wait_for("invite").person is None


def test_a_suppressed_person_is_gone_and_stays_away(send, sandbox):
    """The profile is deleted, its id and its email are blocked, and later calls are ignored with success."""
    send("identify", attributes={"email": "ada@x.y"})
    send("suppress")
    send("event", name="order")
    send("event", name="order", identifiers={"email": "ADA@x.y"})
    send("identify", attributes={"email": "ada@x.y"}, identifiers={"id": "ada-2"})

    assert "ada" not in sandbox.people
    assert verdicts(sandbox)[2:] == ["ignored"] * 3
    assert {row.errors[0].code for row in sandbox.bad} == {"I-suppressed"}

    send("unsuppress")
    send("event", name="order")
    assert sandbox.people["ada"].event_names == ["order"]
    assert sandbox.people["ada"].attributes == {}


def test_a_deleted_person_may_come_back(send, sandbox):
    """Deleting somebody absent is a success too."""
    send("identify", attributes={"plan": "pro"})
    send("delete")
    send("delete")
    assert "ada" not in sandbox.people
    send("identify", attributes={"plan": "free"}, timestamp=1)
    assert sandbox.people["ada"].attributes == {"plan": "free"}
    assert set(verdicts(sandbox)) == {"accepted"}


def test_a_merge_moves_what_the_primary_lacks(send, sandbox, ulid):
    """The secondary disappears; the primary's own attributes win; a repeat is a duplicate."""
    events = [ulid(), ulid()]
    send("identify", attributes={"plan": "pro"})
    send("identify", attributes={"plan": "free", "city": "x"}, identifiers={"email": "old@x.y"})
    send("event", name="first", id=events[0], identifiers={"email": "old@x.y"})
    send("event", name="second", id=events[1])
    for _ in range(2):
        send("merge", primary={"id": "ada"}, secondary={"email": "old@x.y"})

    ada = sandbox.people["ada"]
    assert ada.attributes == {"plan": "pro", "city": "x"}
    assert ada.events == events
    assert ada.merged == ["old@x.y"]
    assert "old@x.y" not in sandbox.people
    assert verdicts(sandbox)[-2:] == ["accepted", "duplicate"]


@pytest.mark.parametrize(
    ("primary", "secondary", "code"),
    [({"id": "nobody"}, {"id": "ada"}, "I-no-primary"), ({"id": "ada"}, {"id": "nobody"}, "I-no-secondary")],
)
def test_a_merge_with_nobody_does_nothing(send, sandbox, primary, secondary, code):
    """It is answered with success all the same."""
    send("identify", attributes={})
    send("merge", primary=primary, secondary=secondary)
    assert sandbox.bad[0].errors[0].code == code
    assert "ada" in sandbox.people


def test_devices_come_and_go(send, sandbox):
    """A token is stored once, with what was said last."""
    for app_version in ("1", "2"):
        send("add_device", device={"token": "t1", "platform": "ios", "attributes": {"app_version": app_version}})
    send("add_device", device={"token": "t2", "platform": "android"})
    send("delete_device", device={"token": "t2"})
    assert sandbox.people["ada"].devices == [{"token": "t1", "platform": "ios", "attributes": {"app_version": "2"}}]


def test_objects_and_relationships_are_kept(send, sandbox, web):
    """An object has attributes, and people are related to it until they are not."""
    acme = {"object_type_id": "1", "object_id": "acme"}
    send(
        "identify",
        "object",
        identifiers=acme,
        attributes={"size": 3},
        cio_relationships=[{"identifiers": {"id": "ada"}}],
    )
    send("add_relationships", cio_relationships=[{"identifiers": acme, "relationship_attributes": {"role": "admin"}}])

    assert sandbox.people["ada"].relationships == [{"identifiers": acme, "attributes": {"role": "admin"}}]
    objects = web.get(f"{sandbox.url}/_sandbox/v1/objects", params={"workspace": sandbox.site_id})
    assert objects.json()["items"] == [{"type": "1", "id": "acme", "attributes": {"size": 3}}]

    send("delete_relationships", cio_relationships=[{"identifiers": acme}])
    assert sandbox.people["ada"].relationships == []


def test_segments_and_forms_reach_people(http, sandbox):
    """A manual segment takes those it knows; a form makes a person of whoever sent it, and answers 204."""
    reply = http.post(
        "/api/v1/forms/contact/submit", json={"data": {"email": "ada@x.y", "city": "x", "form_name": "Contact"}}
    )
    assert (reply.status_code, reply.content) == (204, b"")
    http.post("/api/v1/segments/7/add_customers?id_type=email", json={"ids": ["ada@x.y", "nobody@x.y"]})

    person = sandbox.people["ada@x.y"]
    assert person.attributes == {"email": "ada@x.y", "city": "x"}
    assert person.segments == ["7"]
    http.post("/api/v1/segments/7/remove_customers?id_type=email", json={"ids": ["ada@x.y"]})
    assert sandbox.people["ada@x.y"].segments == []


def test_a_doubt_may_be_decided_the_other_way(web):
    """Whether an unknown person's event is kept is unpublished, so it is a choice of the house."""
    with Sandbox.running(house=House(fidelity=Fidelity(unknown_person="drop"))) as sandbox:
        web.post(f"{sandbox.url}/api/v1/customers/ada/events", json={"name": "order"}, auth=("dev", "key"))
        assert [row.verdict for row in sandbox.events("order")] == ["ignored"]
        assert "ada" not in sandbox.people
