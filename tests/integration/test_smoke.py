"""The shortest way through everything."""

from __future__ import annotations


def test_an_event_reaches_its_person(sandbox, client):
    """What is tracked is in the sandbox, once, with its attributes and its person."""
    event_id = client.track("order_placed", {"total": 42}, person="ada")

    assert client.flush(5)

    assert sandbox.people["ada"].events == [event_id]
    (event,) = sandbox.events("order_placed")
    assert event.data["total"] == 42
    assert client.stats().delivered == 1


def test_a_lost_reply_resends_the_same_ulid(sandbox, client):
    """A lost reply is retried with the same bytes, so Customer.io sees one event."""
    sandbox.faults.script(["ack_lost", "ok*"])

    event_id = client.track("order_placed", {"total": 42}, person="ada")
    assert client.flush(5)

    assert sandbox.people["ada"].events == [event_id]
    assert sandbox.duplicates("order_placed") == 1
