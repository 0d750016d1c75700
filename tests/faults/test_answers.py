"""What Customer.io may answer, and for how long it may be away (faults 14 to 26); see also test_network."""

from __future__ import annotations

import json
import logging
import math
import re
import socket
import threading
from collections import Counter

import pytest

from cio_middleware import DropReason


def items(request: bytes) -> list[dict]:
    """The items of a batch as a server received it."""
    found: list[dict] = json.loads(request.partition(b"\r\n\r\n")[2])["batch"]
    return found


def judging(judge, answer):
    """Answers a request by what `judge` says of its items: a status, and the errors of the body."""

    def how(connection: socket.socket, request: bytes) -> None:
        status, errors = judge(items(request))
        body = json.dumps({"errors": errors} if errors else {}).encode()
        connection.sendall(answer(status, body))

    return how


def wrong(index: int | None) -> dict:
    """An error as Customer.io words it."""
    return {"batch_index": index, "reason": "invalid", "field": "name", "message": "is wrong"}


@pytest.mark.parametrize(
    ("status", "body"),
    [("200 OK", b"{}"), ("200 OK", b""), ("200 OK", b'{"errors":[]}'), ("201 Created", b"{}"), ("204 No Content", b"")],
    ids=["200", "200-empty", "200-no-errors", "201", "204"],
)
def test_14_a_success_settles_every_event(serve, answer, on, status, body):
    """One request, and nothing is pending any more."""
    server = serve(lambda connection, _: connection.sendall(answer(status, body)))
    client = on(server.url, flush_interval=60.0)
    for number in range(5):
        client.track("step", {"n": number}, person="ada")
    assert client.flush(5)
    assert (client.stats().delivered, client.stats().pending, len(server.requests)) == (5, 0, 1)


@pytest.mark.parametrize(
    ("status", "named", "requests"),
    [
        ("207 Multi-Status", [1], 1),
        ("200 OK", [1], 1),
        ("207 Multi-Status", [1, 1], 1),
        ("207 Multi-Status", [99], 5),
        ("207 Multi-Status", [None], 5),
    ],
    ids=["207", "200-with-errors", "named-twice", "out-of-range", "unnamed"],
)
def test_15_a_partial_failure_costs_the_items_that_it_names(serve, answer, on, status, named, requests):
    """The bad item becomes a dead letter, the others are delivered; a name that fits none is found by halving."""

    def judge(batch):
        bad = any(item["name"] == "bad" for item in batch)
        return (status, [wrong(index) for index in named]) if bad else ("200 OK", [])

    server = serve(judging(judge, answer))
    client = on(server.url, flush_interval=60.0)
    for name in ("good", "bad", "good", "good"):
        client.track(name, person="ada")
    assert client.flush(5)
    stats = client.stats()
    assert (stats.delivered, stats.dead_lettered, len(server.requests)) == (3, 1, requests)
    (letter,) = client.dead_letters
    assert b'"name":"bad"' in letter.item


def test_16_one_bad_event_is_found_by_halving(serve, answer, on):
    """One poisoned event among 738 costs at most 2 log2(738) more requests, and only itself."""

    def judge(batch):
        return ("400 Bad Request" if any(item["name"] == "bad" for item in batch) else "200 OK"), []

    server = serve(judging(judge, answer))
    client = on(server.url, flush_at=1000, flush_interval=60.0)
    for number in range(738):
        client.track("bad" if number == 500 else "good", {"n": number}, person="ada")
    assert client.flush(10)
    stats = client.stats()
    assert (stats.delivered, stats.dead_lettered) == (737, 1)
    assert len(server.requests) <= 1 + 2 * math.ceil(math.log2(738))
    taken = [item["attributes"]["n"] for request in server.requests for item in items(request)]
    assert Counter(taken)[0] <= 11


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "405 Method Not Allowed"])
def test_18_a_wrong_address_pauses_and_keeps_everything(serve, answer, timed_on, pass_time, eventually, caplog, status):
    """Asked again after a minute and then after two; nothing is lost, and one line names the setting to check."""
    answers = iter([status, status])
    server = serve(lambda connection, _: connection.sendall(answer(next(answers, "200 OK"))))
    client = timed_on(server.url)
    with caplog.at_level(logging.INFO, logger="cio_middleware"):
        client.track("step", person="ada")
        for requests, seconds in ((1, 60), (2, 120)):
            eventually(lambda requests=requests: client.stats().requests == requests)
            pass_time(seconds - 1)
            assert client.stats().requests == requests
            pass_time(1)
        eventually(lambda: client.stats().delivered == 1)
    assert sum("Check CUSTOMERIO_" in text for text in caplog.messages) == 1


@pytest.mark.parametrize("status", ["408 Timeout", "425 Too Early", "429 Too Many Requests"])
def test_19_a_busy_server_is_left_alone_for_a_while(serve, answer, timed_on, pass_time, eventually, status):
    """Without a Retry-After the backoff decides; the one worker waits, so nothing else of this process is sent."""
    answers = iter([status])
    server = serve(lambda connection, _: connection.sendall(answer(next(answers, "200 OK"))))
    client = timed_on(server.url, retry_base=10.0)
    client.track("first", person="ada")
    eventually(lambda: client.stats().requests == 1)
    client.track("second", person="bob")
    pass_time(0)
    assert client.stats().requests == 1
    pass_time(10)
    eventually(lambda: client.stats().delivered == 2)
    first, second = ([item["name"] for item in items(request)] for request in server.requests[:2])
    assert first == second == ["first"]


DATE = "Tue, 24 Nov 2026 04:00:00 GMT"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("1000000000", 600),
        ("Tue, 24 Nov 2026 04:00:30 GMT", 30),
        ("Wed, 25 Nov 2026 04:00:00 GMT", 600),
        ("-5", 0),
        ("soon", 0),
        ("Mon, 23 Nov 2026 04:00:00 GMT", 0),
    ],
    ids=["seconds", "zero", "a-billion", "date", "date-far", "negative", "junk", "date-past"],
)
def test_20_the_server_says_when_to_come_back(serve, answer, timed_on, pass_time, eventually, asked, seconds):
    """Never sooner than asked, between 1 and 600 seconds, and a tenth later at most; what is no time is ignored."""
    answers = iter([answer("429 Too Many Requests", b"{}", f"Retry-After: {asked}", f"Date: {DATE}")])
    server = serve(lambda connection, _: connection.sendall(next(answers, answer("200 OK"))))
    client = timed_on(server.url, retry_base=0.5, retry_cap=0.5)
    client.track("step", person="ada")
    eventually(lambda: client.stats().requests == 1)
    if seconds:
        pass_time(seconds - 0.01)
        assert client.stats().requests == 1
    pass_time(seconds * 0.1 + 0.51)
    eventually(lambda: client.stats().delivered == 1)


def test_21_a_body_that_is_too_large_is_halved(serve, answer, on):
    """A batch above the server's bound goes in parts; an event that is too large by itself is a dead letter."""

    def how(connection: socket.socket, request: bytes) -> None:
        body = request.partition(b"\r\n\r\n")[2]
        connection.sendall(answer("413 Payload Too Large" if len(body) > 2000 else "200 OK"))

    server = serve(how)
    client = on(server.url, flush_interval=60.0)
    for number in range(20):
        client.track("step", {"n": number, "text": "x" * (3000 if number == 7 else 100)}, person="ada")
    assert client.flush(5)
    assert (client.stats().delivered, client.stats().dead_lettered) == (19, 1)
    (letter,) = client.dead_letters
    assert len(letter.item) > 3000


@pytest.mark.parametrize("max_age", [3600.0, None], ids=["an-hour", "for-ever"])
def test_22_two_days_of_outage(make_client, sandbox, clock, pass_time, eventually, max_age):
    """With a `max_age` an event is given up after it, and counted; without one it arrives after two days, once."""
    sandbox.faults.script(["503*"])
    client = make_client(flush_at=1, max_age=max_age, client_options={"clock": clock})
    event_id = client.track("old", person="ada")
    for _ in range(48 if max_age is None else 2):
        pass_time(3600)
    sandbox.faults.clear()
    if max_age is None:
        assert client.stats().requests >= 48
        pass_time(3600)
        eventually(lambda: client.stats().delivered == 1)
        assert sandbox.people["ada"].events == [event_id]
    else:
        client.track("new", person="ada")
        eventually(lambda: client.stats().delivered == 1)
        assert client.stats().dropped == {DropReason.EXPIRED: 1}
        assert sandbox.people["ada"].event_names == ["new"]
    assert client.stats().balanced


@pytest.mark.parametrize(
    ("status", "requests", "dead"),
    [
        ("300 Multiple Choices", 1, 0),
        ("304 Not Modified", 1, 0),
        ("402 Payment Required", 1, 1),
        ("418 I'm a teapot", 1, 1),
        ("422 Unprocessable Content", 1, 1),
        ("451 Unavailable", 1, 1),
        ("520 Unknown", 2, 0),
        ("599 Odd", 2, 0),
    ],
)
def test_23_a_status_that_nobody_documents(serve, answer, timed_on, pass_time, eventually, status, requests, dead):
    """A 3xx keeps everything and asks once a minute, another 4xx is about the event, a 5xx is sent again."""
    server = serve(lambda connection, _: connection.sendall(answer(status, b"")))
    client = timed_on(server.url, retry_base=10.0)
    client.track("step", person="ada")
    eventually(lambda: client.stats().requests == 1)
    pass_time(11)
    eventually(lambda: client.stats().requests == requests and client.stats().dead_lettered == dead)
    assert client.stats().pending == 1 - dead


def test_23_an_interim_answer_is_not_the_answer(serve, answer, on):
    """What a server says before its answer, such as 103, settles nothing and hurts nothing."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    server = serve(lambda connection, _: connection.sendall(interim + answer("200 OK")))
    client = on(server.url)
    client.track("step", person="ada")
    assert client.flush(5)
    assert (client.stats().delivered, client.stats().requests) == (1, 1)


def test_25_a_server_that_comes_and_goes_gets_everything_in_order(make_client, sandbox):
    """Whatever fails in between, each event arrives, those of a person in the order of their capture."""
    sandbox.faults.script(["503", "ok", "reset", "ok", "503", "503", "ok", "ack_lost", "ok", "html", "ok*"])
    client = make_client(flush_at=1, max_batch_events=3)
    ids = [client.track("step", {"n": n}, person="ada") for n in range(30)]
    assert client.flush(10)
    assert sandbox.people["ada"].events == ids
    assert client.stats().delivered == 30


def test_25_while_it_is_away_one_request_of_many_asks(make_client, sandbox, clock):
    """Eight threads of the direct backend meet an open breaker: after its half minute one asks, seven fail at once."""
    sandbox.faults.script(["503*"])
    client = make_client(backend="direct", retries=0, client_options={"clock": clock})
    for _ in range(5):
        client.track("step", person="ada")
    assert client.stats().requests == 5

    clock.advance(30)
    threads = [threading.Thread(target=client.track, args=("step",), kwargs={"person": "ada"}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert client.stats().requests == 6
    assert client.stats().dropped == {DropReason.RETRIES_EXHAUSTED: 6, DropReason.BREAKER_OPEN: 7}


def test_26_after_an_outage_the_backlog_keeps_to_the_rate(make_client, sandbox, clock, pass_time, eventually):
    """What has piled up does not arrive all at once: no second has more requests than the rate and its burst."""
    sandbox.faults.script(["503*"])
    client = make_client(flush_at=1, max_batch_events=1, rate_limit=10.0, client_options={"clock": clock})
    for number in range(60):
        client.track("step", {"n": number}, person="ada")
    eventually(lambda: client.stats().requests == 1)
    pass_time(600)
    sandbox.faults.clear()
    per_second = []
    while client.stats().delivered < 60:
        before = client.stats().requests
        for _ in range(10):
            pass_time(0.1)
        # Read once the worker waits again, so that a slow machine moves no request into the second after.
        per_second.append(client.stats().requests - before)
    assert max(per_second) <= 10 + 1
    assert len(per_second) >= 5
    assert sandbox.count("step") == 60


def test_24_every_request_goes_where_refusals_are_told(serve, answer, on):
    """Only paths of the Track API are called, whose answers name what they refuse; none of them drops in silence."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    client = on(server.url)
    client.track("small", person="ada")
    client.track("large", {"text": "x" * 50_000}, person="ada")
    client.track("browsed", anonymous_id="browser-1")
    client.identify("ada", {"plan": "pro"})
    assert client.flush(5)
    paths = {re.sub(rb"/customers/[^/]+", b"/customers/{id}", request.split()[1]) for request in server.requests}
    assert paths == {b"/api/v2/batch", b"/api/v1/customers/{id}/events", b"/api/v1/events"}
