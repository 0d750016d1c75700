"""The verbs about people, devices and objects, as the sandbox takes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx
import pytest

import cio_middleware as cio
from cio_middleware import DropReason
from cio_middleware.exceptions import InvalidEvent
from cio_middleware.processors import consent, redact, sample

CALLS = {
    "delete": lambda client: client.delete("ada"),
    "suppress": lambda client: client.suppress("ada"),
    "unsuppress": lambda client: client.unsuppress("ada"),
    "merge": lambda client: client.merge("ada", cio.Identity(email="ada@example.com")),
    "add_device": lambda client: client.add_device("t1", "ios", person="ada", last_used=1_795_000_000),
    "delete_device": lambda client: client.delete_device("t1", person="ada"),
    "identify_object": lambda client: client.identify_object(1, "acme", {"name": "Acme"}),
    "delete_object": lambda client: client.delete_object("1", "acme"),
    "relate": lambda client: client.relate("ada", 1, "acme", {"role": "admin"}),
    "unrelate": lambda client: client.unrelate("ada", 1, "acme"),
    "invite": lambda client: client.invite("invited", "new@example.com", {"by": "ada"}),
}


def objects(sandbox):
    """The sandbox's objects: attributes by type and id."""
    answer = httpx.get(f"{sandbox.url}/_sandbox/v1/objects", params={"workspace": sandbox.settings["site_id"]})
    return {(each["type"], each["id"]): each["attributes"] for each in answer.json()["items"]}


@pytest.mark.parametrize("backend", ["queued", "direct"])
@pytest.mark.parametrize("verb", CALLS)
def test_customer_io_takes_every_verb(make_client, sandbox, verb, backend):
    """Each arrives once, is accepted, and settles in the ledger, on both backends."""
    client = make_client(backend=backend)
    client.identify("ada", {})
    client.identify(cio.Identity(email="ada@example.com"), {})
    client.flush()
    event_id = CALLS[verb](client)
    client.flush()
    assert len(event_id) == 26
    row = max(sandbox.events(), key=lambda row: row.seq)
    assert row.verdict in {"accepted", "accepted_but"}, row
    assert client.stats().delivered == 3
    assert client.stats().balanced


def test_a_person_is_deleted_suppressed_and_let_in_again(client, sandbox):
    """A suppressed person's events are ignored until `unsuppress`; what was known is gone."""
    client.identify("ada", {"plan": "pro"})
    client.suppress("ada")
    client.track("ignored", person="ada")
    client.unsuppress("ada")
    client.track("taken", person="ada")
    client.flush()
    assert [row.verdict for row in sandbox.events(name="ignored")] == ["ignored"]
    assert sandbox.people["ada"].event_names == ["taken"]
    assert sandbox.people["ada"].attributes == {}


def test_two_people_become_one(client, sandbox):
    """The first has the second's events and attributes, and the second is gone."""
    client.identify("ada", {"plan": "pro"})
    client.identify("ada-2", {"city": "London"})
    client.track("paid", person="ada-2")
    client.merge("ada", "ada-2")
    client.flush()
    assert sandbox.people["ada"].event_names == ["paid"]
    assert {"plan": "pro", "city": "London"}.items() <= sandbox.people["ada"].attributes.items()
    assert sandbox.people["ada"].merged
    assert "ada-2" not in sandbox.people


def test_a_device_comes_and_goes(client, sandbox):
    """Its token, platform, attributes and last use are the person's."""
    used = datetime(2026, 11, 24, tzinfo=UTC)
    client.identify("ada", {})
    client.add_device("t1", "android", person="ada", last_used=used, attributes={"app_version": "7"})
    client.add_device("t2", "ios", person="ada")
    client.delete_device("t2", person="ada")
    client.flush()
    (device,) = sandbox.people["ada"].devices
    assert (device["token"], device["platform"], device["last_used"]) == ("t1", "android", int(used.timestamp()))
    assert device["attributes"] == {"app_version": "7"}


def test_the_person_of_a_device_may_be_bound(client, sandbox):
    """As for events: `bound()` says whose it is; without anybody it is dropped, and `debug` says what to type."""
    with cio.bound(person="ada"):
        client.add_device("t1", "ios")
    assert client.add_device("t2", "ios") is None
    client.flush()
    assert [device["token"] for device in sandbox.people["ada"].devices] == ["t1"]
    assert client.stats().dropped == {DropReason.INVALID_EVENT: 1}


def test_a_person_belongs_to_an_object(client, sandbox):
    """The object has its attributes, the relationship has its own, and both can be taken back."""
    client.identify("ada", {})
    client.identify_object(1, "acme", {"name": "Acme", "seats": 5})
    client.relate("ada", 1, "acme", {"role": "admin"})
    client.flush()
    assert objects(sandbox) == {("1", "acme"): {"name": "Acme", "seats": 5}}
    (relationship,) = sandbox.people["ada"].relationships
    assert relationship["identifiers"] == {"object_type_id": "1", "object_id": "acme"}
    assert relationship["attributes"] == {"role": "admin"}
    client.unrelate("ada", 1, "acme")
    client.delete_object(1, "acme")
    client.flush()
    assert sandbox.people["ada"].relationships == []
    assert objects(sandbox) == {}


def test_an_invitation_goes_without_a_person(client, sandbox):
    """By v1's call for anonymous events, without an id, and with the address in its data."""
    client.invite("invited", "new@example.com", {"by": "ada"})
    client.flush()
    (request,) = sandbox.requests()
    body = json.loads(request.body)
    assert (request.path, body["name"]) == ("/api/v1/events", "invited")
    assert body["data"] == {"by": "ada", "recipient": "new@example.com"}
    assert "anonymous_id" not in body


def test_verbs_keep_their_order_with_events(client, sandbox):
    """What was said about a person first arrives first, also where two people are named."""
    client.track("one", person="ada-2")
    client.merge("ada", "ada-2")
    client.track("two", person="ada")
    client.delete("ada")
    client.flush()
    kinds = [row.name or row.kind for row in sorted(sandbox.events(), key=lambda row: row.seq)]
    assert kinds == ["one", "merge", "two", "delete"]


WRONG = {
    "nobody": (lambda client: client.delete(""), "is blank"),
    "the same twice": (lambda client: client.merge("ada", "ada"), "the same person twice"),
    "by phone": (lambda client: client.merge("ada", cio.Identity(phone="+4930123456")), "not by phone"),
    "no token": (lambda client: client.add_device(" ", "ios", person="ada"), "token"),
    "no platform": (lambda client: client.add_device("t", "iOS", person="ada"), '"ios" or "android"'),
    "milliseconds": (lambda client: client.add_device("t", "ios", person="ada", last_used=1e12), "milliseconds"),
    "nobody's": (lambda client: client.add_device("t", "ios"), "Pass person="),
    "no type": (lambda client: client.identify_object("company", "acme"), "counts the types"),
    "no object": (lambda client: client.identify_object(1, ""), "object_id"),
    "a long object": (lambda client: client.delete_object(1, "x" * 151), "151 bytes"),
    "a true type": (lambda client: client.relate("ada", True, "acme"), "counts the types"),
    "a long value": (lambda client: client.identify_object(1, "acme", {"bio": "x" * 1001}), "1001 bytes"),
    "no recipient": (lambda client: client.invite("invited", ""), "recipient"),
    "no name": (lambda client: client.invite(" ", "new@example.com"), "blank"),
    "no attributes": (lambda client: client.relate("ada", 1, "acme", 7), "attributes"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_customer_io_would_refuse_is_dropped_and_said(make_client, sandbox, wrong):
    """It is counted as invalid; with `debug` it raises and says what to pass. Nothing is sent."""
    call, says = WRONG[wrong]
    quiet, loud = make_client(), make_client(debug=True)
    assert call(quiet) is None
    assert quiet.stats().dropped == {DropReason.INVALID_EVENT: 1}
    with pytest.raises(InvalidEvent, match=says):
        call(loud)
    quiet.flush()
    loud.flush()
    assert sandbox.requests() == []


def test_an_object_above_32_kb_is_refused_here(make_client):
    """Only events may travel alone by v1."""
    client = make_client()
    attributes = {f"a{number}": "x" * 900 for number in range(40)}
    assert client.identify_object(1, "acme", attributes) is None
    assert client.stats().dropped == {DropReason.EVENT_TOO_LARGE: 1}


def test_after_close_a_verb_is_counted(make_client):
    """As an event is."""
    client = make_client()
    client.close()
    assert client.delete("ada") is None
    assert client.stats().dropped == {DropReason.CLOSED: 1}


def test_processors_see_what_has_attributes(make_client, sandbox):
    """Values of devices, objects and relationships are redacted too; a deletion is never sampled, nor asked for."""
    asked = []

    def ask(subject):
        asked.append(subject.identity)
        return False

    client = make_client(client_options={"processors": [consent(ask), sample(0), redact(["secret"])]})
    client.delete("ada")
    client.identify_object(1, "acme", {"secret": "c4n4ry", "name": "Acme"})
    client.add_device("t1", "ios", person="ada")
    client.flush()
    assert {row.kind for row in sandbox.events()} == {"delete", "identify"}
    assert objects(sandbox) == {("1", "acme"): {"name": "Acme"}}
    assert asked == [cio.Identity(id="ada")]
    assert client.stats().dropped == {DropReason.NO_CONSENT: 1}


@pytest.mark.parametrize("queue", ["memory", "spool"])
def test_a_purge_leaves_the_deletion_of_the_person(make_client, sandbox, queue, tmp_path):
    """What waits about somebody is dropped, but Customer.io hears that they are to be deleted."""
    spool = {"queue": "spool", "spool_dir": str(tmp_path / "spool")} if queue == "spool" else {}
    client = make_client(flush_interval=60.0, **spool)
    client.track("seen", person="ada")
    client.merge("bob", "ada")
    client.relate("ada", 1, "acme")
    client.delete("ada")
    client.purge("ada")
    client.suppress("ada")
    client.track("seen", person="bob")
    client.flush()
    assert [row.name or row.kind for row in sorted(sandbox.events(), key=lambda row: row.seq)] == [
        "delete",
        "suppress",
        "seen",
    ]
    assert client.stats().dropped == {DropReason.PURGED: 3}
