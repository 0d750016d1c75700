"""
The judge: Customer.io's own Python package, which shares no code with us, passes with every verb that it has.

It only speaks https. There are two ways around that, and neither touches its code or ours: its `base_url` is an
attribute, which is enough for v1; `batch` builds its URL anew, so the session gets a transport adapter that sends
``https://`` in plain text to the same host and port.
"""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import pytest
from customerio import CustomerIO, CustomerIOException

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture(name="official")
def _official(make_official):
    return make_official(retries=0, timeout=5)


VERBS = {
    "identify": (
        lambda cio: cio.identify("ada", email="ada@x.y", plan="pro"),
        "identify",
        None,
        {"email": "ada@x.y", "plan": "pro"},
    ),
    "track": (
        lambda cio: cio.track("ada", "order", {"n": 1}, id=ULID, timestamp=1_700_000_000),
        "event",
        "order",
        {"n": 1},
    ),
    "track_anonymous": (lambda cio: cio.track_anonymous("v1", "visit", {"n": 1}), "event", "visit", {"n": 1}),
    "pageview": (lambda cio: cio.pageview("ada", "/home", referrer="/"), "page", "/home", {"referrer": "/"}),
    "backfill": (lambda cio: cio.backfill("ada", "old", 1_500_000_000, n=1), "event", "old", {"n": 1}),
    "delete": (lambda cio: cio.delete("ada"), "delete", None, {}),
    "add_device": (lambda cio: cio.add_device("ada", "t/1", "ios", last_used=1_700_000_000), "add_device", None, {}),
    "delete_device": (lambda cio: cio.delete_device("ada", "t/1"), "delete_device", None, {}),
    "suppress": (lambda cio: cio.suppress("ada"), "suppress", None, {}),
    "unsuppress": (lambda cio: cio.unsuppress("ada"), "unsuppress", None, {}),
    "merge_customers": (lambda cio: cio.merge_customers("id", "ada", "email", "old@x.y"), "merge", None, {}),
    "batch": (
        lambda cio: cio.batch(
            [
                {
                    "type": "person",
                    "action": "event",
                    "identifiers": {"id": "ada"},
                    "name": "order",
                    "attributes": {"n": 1},
                }
            ]
        ),
        "event",
        "order",
        {"n": 1},
    ),
}


@pytest.mark.parametrize(("call", "kind", "name", "data"), VERBS.values(), ids=VERBS)
def test_every_verb_is_understood(official, sandbox, call, kind, name, data):
    """The call succeeds, and the sandbox recorded what was meant."""
    reply = call(official)

    assert (reply.status_code, reply.text) == (200, "{}\n")
    (row,) = sandbox.events()
    assert (row.kind, row.name, row.data) == (kind, name, data)
    assert row.verdict != "rejected"
    (request,) = sandbox.requests()
    assert request.endpoint != "unknown"
    assert request.headers["user-agent"].startswith("Customer.io Python Client/")


def test_no_verb_of_the_package_is_left_out():
    """A verb that a later version adds fails here until it has its row."""
    helpers = {"close", "send_request", "setup_base_url", "is_valid_id_type"}
    methods = {
        name for name, _ in inspect.getmembers(CustomerIO, inspect.isfunction) if not name.startswith(("_", "get_"))
    }
    assert methods - helpers == set(VERBS)


@pytest.mark.parametrize("identifier", ["a/b", "ada@x.y", "a+b", "100%", "a b", "日本", "cio", 42])
def test_its_identifiers_arrive_whole(official, sandbox, identifier):
    """What the package encodes, the sandbox decodes to the same."""
    official.identify(identifier, plan="pro")
    official.track(identifier, "order")

    assert [list(row.identifiers.values()) for row in sandbox.events()] == [[str(identifier)]] * 2
    assert sandbox.people[str(identifier)].event_names == ["order"]


def test_its_base_url_is_enough_for_v1(sandbox):
    """The first way around https, for programs that have no batch."""
    with CustomerIO(sandbox.site_id, "key") as client:
        client.base_url = f"{sandbox.url}/api/v1"
        client.http.trust_env = False
        client.identify("ada", since=datetime(2026, 1, 1, tzinfo=UTC))
    assert sandbox.people["ada"].attributes == {"since": 1_767_225_600}


def test_it_tells_its_caller_what_the_sandbox_refused(official):
    """A 400 becomes its exception, with Customer.io's words in it."""
    with pytest.raises(CustomerIOException, match="event name must not be blank"):
        official.track("ada", "")


def test_it_does_not_see_that_an_item_failed(official, sandbox):
    """Its `batch` returns normally on a 207: the defect that a client of its own must not share."""
    reply = official.batch([{"type": "person", "action": "event", "identifiers": {"id": "ada"}, "name": ""}])
    assert reply.status_code == 207
    assert len(sandbox.bad) == 1


def test_a_lost_reply_makes_it_store_once(official, sandbox):
    """With a ULID of the caller's own, sending again is harmless."""
    sandbox.faults.script(["ack_lost", "ok*"])
    with pytest.raises(CustomerIOException):
        official.track("ada", "order", id=ULID)
    official.track("ada", "order", id=ULID)

    assert sandbox.people["ada"].events == [ULID]
    assert sandbox.duplicates("order") == 1
