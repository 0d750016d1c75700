"""The direct backend on a real sandbox: delivered before the verb returns, or given up with an error that tells why."""

from __future__ import annotations

import asyncio
import logging
import pickle

import pytest

import cio_middleware as cio
from cio_middleware import DropReason


@pytest.fixture(name="direct")
def _direct(make_client):
    """A client that delivers at once, with quick retries."""
    return make_client(backend="direct")


@pytest.fixture(name="strict")
def _strict(make_client):
    """The same, raising what it cannot deliver."""
    return make_client(backend="direct", on_error="raise", timeout=2.0)


def test_an_event_is_there_when_track_returns(direct, sandbox):
    """No flush is needed: the sandbox has the event when `track` returns its id."""
    event_id = direct.track("paid", {"total": 42}, person="ada")
    assert sandbox.people["ada"].events == [event_id]
    assert direct.stats().delivered == 1
    assert "_queued_at" not in sandbox.events("paid")[0].data


def test_a_passing_failure_is_retried_with_the_same_id(direct, sandbox):
    """Two failures and a lost answer cost three more requests, and one event arrives."""
    sandbox.faults.script(["503", "reset", "ack_lost", "ok*"])
    event_id = direct.track("paid", person="ada")
    assert sandbox.people["ada"].events == [event_id]
    assert sandbox.duplicates("paid") == 1
    assert direct.stats().retries == 3


@pytest.mark.parametrize(
    ("script", "kind", "status", "attempts"),
    [
        (["503*"], cio.ServerUnavailable, 503, 4),
        (["429*"], cio.RateLimited, 429, 4),
        (["429;retry_after=60*"], cio.RateLimited, 429, 1),
        (["reset*"], cio.TransportFailure, None, 4),
        (["401*"], cio.Unauthorized, 401, 1),
        (["400*"], cio.Rejected, 400, 1),
        (["html*"], cio.ServerUnavailable, 200, 4),
    ],
    ids=["503", "429", "429 for longer than allowed", "reset", "401", "400", "html"],
)
def test_what_cannot_be_delivered_is_raised_on_request(strict, sandbox, script, kind, status, attempts):
    """With on_error="raise" the error tells kind, status, attempts and event ids, no person and no payload."""
    sandbox.faults.script(script)
    with pytest.raises(kind) as caught:
        strict.track("paid", {"card": "canary"}, person="canary")
    error = caught.value
    assert (error.status, error.attempts) == (status, attempts)
    assert len(error.event_ids) == 1
    assert error.event_ids[0] in str(error)
    assert "canary" not in f"{error} {error!r} {error.__dict__}"
    assert error.__context__ is None
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again), again.event_ids) == (kind, str(error), error.event_ids)
    assert strict.stats().balanced
    assert strict.stats().pending == 0


def test_how_long_the_server_asks_to_wait_is_on_the_error(strict, sandbox):
    """A script can wait as long as Customer.io asked."""
    sandbox.faults.script(["429;retry_after=60*"])
    with pytest.raises(cio.RateLimited) as caught:
        strict.track("paid", person="ada")
    assert caught.value.retry_after == 60.0
    assert caught.value.retryable


def test_by_default_nothing_is_raised(direct, sandbox, caplog):
    """A failed delivery returns None, is counted by reason, and is logged without person or payload."""
    sandbox.faults.script(["401*"])
    with caplog.at_level(logging.DEBUG, logger="cio_middleware"):
        assert direct.track("paid", {"card": "canary"}, person="canary") is None
        assert direct.track("paid", person="canary") is None
    assert direct.stats().dropped == {DropReason.UNAUTHORIZED: 2}
    assert "CUSTOMERIO_API_KEY" in caplog.text
    assert "canary" not in caplog.text
    assert len(caplog.records) == 1


def test_a_refused_event_is_a_dead_letter(direct, sandbox):
    """What Customer.io refuses for good is kept with its words."""
    sandbox.faults.script(["400*"])
    direct.track("paid", person="ada")
    (letter,) = direct.dead_letters
    assert letter.envelope.kind == "event"
    assert direct.stats().dead_lettered == 1


def test_the_whole_delivery_keeps_one_deadline(make_client, sandbox, clock):
    """Attempts and waits together stay within `timeout`, so a request is never held up longer than that."""
    sandbox.faults.script(["503*"])
    client = make_client(backend="direct", retries=100, retry_base=5.0, timeout=10.0, client_options={"clock": clock})
    client.track("paid", person="ada")
    assert sum(clock.slept) < 10.0
    assert client.stats().dropped == {DropReason.RETRIES_EXHAUSTED: 1}


async def test_atrack_delivers_before_it_returns(make_client, sandbox):
    """On an event loop, awaiting the verb awaits the delivery, retries included."""
    client = make_client(backend="direct")
    sandbox.faults.script(["503", "ack_lost", "ok*"])
    event_id = await client.atrack("paid", person="ada")
    assert sandbox.people["ada"].events == [event_id]
    await client.aidentify("ada", {"plan": "pro"})
    assert sandbox.people["ada"].attributes["plan"] == "pro"
    await client.aclose()


async def test_atrack_does_not_block_the_loop(make_client, sandbox):
    """Ten deliveries to a slow sandbox overlap, while the loop goes on turning."""
    client = make_client(backend="direct")
    sandbox.faults.script(["latency=200*"])
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(*(client.atrack("paid", {"n": n}, person="ada") for n in range(10)))
    took = loop.time() - started
    turning.cancel()
    assert took < 10 * 0.2
    assert turns > 10
    assert sandbox.count("paid") == 10
    await client.aclose()


async def test_track_on_a_loop_hands_over_and_says_so_once(make_client, sandbox, caplog):
    """A sync verb on an event loop's thread returns at once; a helper thread delivers, the log names atrack once."""
    client = make_client(backend="direct")
    with caplog.at_level(logging.WARNING, logger="cio_middleware"):
        ids = [client.track("paid", {"n": n}, person="ada") for n in range(3)]
    assert all(ids)
    assert await client.aflush(5)
    assert sandbox.people["ada"].events == ids
    assert sum("atrack" in record.getMessage() for record in caplog.records) == 1
    await client.aclose()


async def test_the_helper_thread_gives_up_as_the_direct_backend_does(make_client, sandbox):
    """What the helper thread cannot deliver is dropped with a reason after the retries, not kept for ever."""
    client = make_client(backend="direct")
    sandbox.faults.script(["503*"])
    client.track("paid", person="ada")
    assert await client.aflush(5)
    assert client.stats().dropped == {DropReason.RETRIES_EXHAUSTED: 1}
    await client.aclose()


def test_one_client_serves_several_loops(direct, sandbox):
    """Connections belong to a loop; a second `asyncio.run` gets its own, and nothing complains about the first."""
    for number in range(3):

        async def main(number: int = number) -> None:
            assert await direct.atrack("paid", {"n": number}, person="ada")
            await direct._parts.backend.aclose()

        asyncio.run(main())
    assert sandbox.count("paid") == 3


async def test_a_cancelled_delivery_is_accounted_for(make_client, sandbox, eventually):
    """A task that is cancelled while it waits for a delivery leaves nothing pending in the ledger."""
    client = make_client(backend="direct", timeout=30.0)
    sandbox.faults.script(["hang*"])
    task = asyncio.create_task(client.atrack("paid", person="ada"))
    await asyncio.to_thread(eventually, lambda: client.stats().requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.stats().dropped == {DropReason.CANCELLED: 1}
    assert client.stats().balanced
    await client.aclose()


def test_an_outage_does_not_cost_every_request_a_timeout(make_client, sandbox, clock):
    """After five failed deliveries in a row the next ones fail at once, and after half a minute one asks again."""
    sandbox.faults.script(["503*"])
    client = make_client(backend="direct", retries=0, on_error="raise", client_options={"clock": clock})
    for _ in range(6):
        with pytest.raises(cio.ServerUnavailable):
            client.track("paid", person="ada")
    assert client.stats().requests == 5
    assert client.stats().dropped == {DropReason.RETRIES_EXHAUSTED: 5, DropReason.BREAKER_OPEN: 1}

    sandbox.faults.clear()
    clock.advance(30)

    assert client.track("paid", person="ada")
    assert client.track("paid", person="ada")
    assert client.stats().balanced
