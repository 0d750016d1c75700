"""The README's table beside the official SDK, row by row, against the same sandbox."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from customerio import CustomerIOException

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


@pytest.fixture(name="official")
def _official(make_official):
    """The SDK as it comes, with its own retries."""
    return make_official()


def row(what: str) -> tuple[str, str]:
    """What the README says of both."""
    (line,) = (line for line in README.splitlines() if line.startswith(f"| {what}"))
    theirs, ours = (cell.strip() for cell in line.strip("|").split("|")[1:])
    return theirs, ours


def timed(call) -> float:
    """Seconds that a call takes."""
    started = time.monotonic()
    call()
    return time.monotonic() - started


def test_who_waits(sandbox, official, client):
    """With replies that take 0.3 s, the SDK's `track` takes as long, and ours does not wait."""
    assert row("who waits") == ("the caller of `track`", "a worker; `track` returns at once")
    sandbox.faults.rule(do={"type": "latency", "ms": 300})

    assert timed(lambda: official.track("ada", "order_placed")) >= 0.3
    assert timed(lambda: client.track("order_placed", person="ada")) < 0.3


def test_requests_for_a_hundred_events(sandbox, official, make_client):
    """The SDK's `track` makes a request for each event; ours makes one for all."""
    assert row("requests for 100") == ("100", "1")
    client = make_client(flush_interval=60)

    for _ in range(100):
        official.track("ada", "order_placed")
    theirs = len(sandbox.requests())
    for _ in range(100):
        client.track("order_placed", person="ada")
    client.flush(5)

    assert theirs == 100
    assert len(sandbox.requests()) - theirs == 1


def test_being_asked_to_wait(sandbox, official, client):
    """A 429 with a Retry-After holds up whoever called the SDK's `track`; with ours, the worker waits."""
    assert row("Customer.io asks to wait") == ("the caller of `track` waits it", "the worker waits it")

    sandbox.faults.script(["429;retry_after=1", "ok*"])
    assert timed(lambda: official.track("ada", "theirs")) >= 1
    sandbox.faults.script(["429;retry_after=1", "ok*"])
    assert timed(lambda: client.track("ours", person="ada")) < 1
    assert timed(lambda: client.flush(10)) >= 0.9

    assert (sandbox.count("theirs"), sandbox.count("ours")) == (1, 1)


def test_a_short_outage(sandbox, official, client):
    """Four failures in a row are one too many for the SDK, which raises and keeps nothing; ours goes on."""
    assert row("Customer.io answers 503") == ("`track` raises, the event is gone", "delivered by the fifth attempt")

    sandbox.faults.script(["503", "503", "503", "503", "ok*"])
    with pytest.raises(CustomerIOException):
        official.track("ada", "theirs")
    sandbox.faults.script(["503", "503", "503", "503", "ok*"])
    client.track("ours", person="ada")
    client.flush(10)

    assert sandbox.count("theirs") == 0
    assert sandbox.wait_for("ours").attempts == 5


def test_a_lost_reply(sandbox, official, client):
    """A reply that is lost makes the SDK store the event twice, since it gives it no id; ours is stored once."""
    assert row("an event is accepted") == ("stored twice, unless you pass an id", "stored once")

    sandbox.faults.script(["ack_lost", "ok*"])
    official.track("ada", "theirs")
    sandbox.faults.script(["ack_lost", "ok*"])
    client.track("ours", person="ada")
    client.flush(10)

    assert (sandbox.count("theirs"), sandbox.count("ours")) == (2, 1)


def test_what_an_error_tells(sandbox, official, make_client, caplog):
    """The SDK's exception repeats the event's data, which then is in the log; ours names the event by its id."""
    assert row("text of the error") == ("holds the event's data", "holds no data")
    client = make_client()
    sandbox.faults.rule(do={"type": "status", "status": 400})

    with pytest.raises(CustomerIOException, match="4242-4242"):
        official.track("ada", "order_placed", {"card": "4242-4242"})
    event_id = client.track("order_placed", {"card": "4242-4242"}, person="ada")
    client.flush(5)

    assert event_id in caplog.text
    assert "4242-4242" not in caplog.text


def test_every_row_is_measured():
    """A row of the table without a test above would be a claim."""
    table = README.partition("| what happens |")[2].partition("\n\n")[0]
    assert len(table.splitlines()) == 2 + 6
