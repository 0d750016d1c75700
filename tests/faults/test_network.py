"""What a network and a server can do to a delivery; the numbers are those of the catalogue of faults."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import struct
import threading
import time

import httpx
import httpx2
import pytest

import cio_middleware as cio
from cio_middleware import DropReason
from cio_middleware.testing import Sandbox


def settings(url: str, **changes) -> cio.Settings:
    """Settings for a server of the test's own, with quick retries."""
    quick = {"retry_base": 0.01, "flush_interval": 0.02, "shutdown_timeout": 1.0, "timeout": 0.5, "rate_limit": 10_000}
    account = {"site_id": "site", "api_key": "key", "base_url": url, "sandbox_reporting": False}
    return cio.Settings(**{**account, **quick, **changes})


def free_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def ok_after(failures: int, misbehave, good: bytes):
    """Misbehave so many times, then answer well."""
    left = iter(range(failures))

    def how(connection: socket.socket, request: bytes) -> None:
        if next(left, None) is not None:
            misbehave(connection, request)
        else:
            connection.sendall(good)

    return how


def test_01_a_host_without_address_is_retried(eventually):
    """A name that does not resolve keeps the events, and is one line in the log."""
    with cio.Client(settings("https://nowhere.invalid", shutdown_timeout=0.2)) as client:
        client.track("step", person="ada")
        eventually(lambda: client.stats().retries >= 2)
        assert client.stats().pending == 1


def test_02_a_sandbox_that_starts_late_gets_everything(eventually):
    """Events captured while nobody listens are delivered once somebody does."""
    port = free_port()
    with cio.Client(settings(f"http://127.0.0.1:{port}", site_id="late")) as client:
        ids = [client.track("step", {"n": n}, person="ada") for n in range(30)]
        eventually(lambda: client.stats().retries >= 2)
        with Sandbox.running(site_id="late", port=port) as sandbox:
            assert client.flush(10)
            assert sandbox.people["ada"].events == ids


def test_02_an_outage_in_the_middle_loses_nothing(eventually):
    """A sandbox that is down for a while in the middle of the traffic gets every event, once, in order."""
    with Sandbox.running() as sandbox, cio.Client(settings(sandbox.url, site_id=sandbox.site_id)) as client:
        ids = [client.track("step", {"n": n}, person="ada") for n in range(50)]
        assert client.flush(5)
        sandbox.stop()
        ids += [client.track("step", {"n": number}, person="ada") for number in range(50, 150)]
        eventually(lambda: client.stats().retries >= 3)
        sandbox.start()
        ids.extend(client.track("step", {"n": number}, person="ada") for number in range(150, 200))
        assert client.flush(10)
        assert sandbox.people["ada"].events == ids
        assert client.stats().delivered == 200


@pytest.mark.parametrize("failures", [1, 3])
def test_05_a_reset_before_the_answer_is_retried(serve, answer, failures):
    """A connection that is cut gets the same bytes again, on a new connection."""
    server = serve(ok_after(failures, lambda connection, _: reset(connection), answer("200 OK")))
    with cio.Client(settings(server.url)) as client:
        client.track("step", person="ada")
        assert client.flush(5)
    bodies = {request.partition(b"\r\n\r\n")[2] for request in server.requests}
    assert (len(server.requests), len(bodies)) == (failures + 1, 1)


def drip(connection: socket.socket, data: bytes, stop: threading.Event) -> None:
    """One byte after the other, for as long as anybody listens."""
    for byte in data:
        if stop.wait(0.02):
            return
        connection.sendall(bytes([byte]))


@pytest.mark.parametrize("part", ["headers", "body"])
@pytest.mark.parametrize("backend", ["queued", "direct", "awaited"])
def test_08_a_slow_loris_is_cut_at_the_deadline(serve, part, backend):
    """An answer that drips for ever is given up after `timeout` in all, whichever part of it drips."""
    stop = threading.Event()

    def how(connection: socket.socket, _: bytes) -> None:
        if part == "headers":
            drip(connection, b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 10_000, stop)
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            drip(connection, b" " * 100_000, stop)

    server = serve(how)
    kind = "queued" if backend == "queued" else "direct"
    started = time.monotonic()
    client = cio.Client(settings(server.url, backend=kind, timeout=0.4, retries=0))
    if backend == "awaited":

        async def main() -> None:
            assert await client.atrack("step", person="ada") is None
            await client.aclose()

        asyncio.run(main())
    else:
        client.track("step", person="ada")
        client.close(1.0)
    took = time.monotonic() - started
    stop.set()
    assert took < 3.0
    assert client.stats().delivered == 0
    assert client.stats().balanced


@pytest.mark.parametrize("backend", ["queued", "awaited"])
def test_09_a_huge_answer_is_not_read(serve, backend):
    """Of an answer of a gigabyte, 64 KiB are read and the connection is closed; memory stays flat."""
    sent = []

    def how(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n")
        chunk, total = b" " * 65536, 0
        try:
            while total < 1_000_000_000:
                connection.sendall(chunk)
                total += len(chunk)
        finally:
            sent.append(total)

    server = serve(how)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client = cio.Client(settings(server.url, backend="queued" if backend == "queued" else "direct", retries=0))
    if backend == "queued":
        client.track("step", person="ada")
        client.close(1.0)
    else:

        async def main() -> None:
            await client.atrack("step", person="ada")
            await client.aclose()

        asyncio.run(main())
    server.close()
    assert all(total < 20_000_000 for total in sent)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


MALFORMED = {
    "no http": b"hello\r\n\r\n",
    "cut headers": b"HTTP/1.1 200 OK\r\nContent-Le",
    "cut body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
    "html error": b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
    "cut json": b'HTTP/1.1 207 Multi\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"errors',
    "unknown encoding": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
}


@pytest.mark.parametrize("broken", MALFORMED.values(), ids=MALFORMED.keys())
def test_10_what_is_no_answer_of_customerio_is_retried(serve, answer, broken):
    """Broken HTTP, a proxy's page and cut JSON are no success: the same bytes are sent again, and arrive."""

    def misbehave(connection: socket.socket, _: bytes) -> None:
        connection.sendall(broken)
        connection.close()

    server = serve(ok_after(1, misbehave, answer("200 OK")))
    with cio.Client(settings(server.url)) as client:
        client.track("step", person="ada")
        assert client.flush(5)
        assert client.stats().delivered == 1
    assert len(server.requests) == 2


def test_13_a_redirect_never_carries_the_credentials_away(serve, answer):
    """A redirect to another host is not followed; the events are kept, and one log line says what to check."""
    thief = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    server = serve(
        lambda connection, _: connection.sendall(answer("307 Go", b"", f"Location: {thief.url}/api/v2/batch"))
    )
    strict = settings(server.url, backend="direct", on_error="raise")
    with cio.Client(strict) as client, pytest.raises(cio.Unauthorized):
        client.track("step", person="ada")
    assert thief.requests == []
    assert len(server.requests) == 1


def test_17_a_refused_key_pauses_and_keeps_everything(make_client, sandbox, clock, eventually, caplog):
    """401 stops sending: one probe a minute, then two; nothing is discarded, and one line names the settings."""
    sandbox.faults.script(["401", "401", "ok*"])
    client = make_client(flush_at=1, client_options={"clock": clock})
    with caplog.at_level(logging.INFO, logger="cio_middleware"):
        ids = [client.track("step", {"n": n}, person="ada") for n in range(5)]
        eventually(lambda: client.stats().requests == 1)
        looks = clock.looks
        eventually(lambda: clock.looks > looks + 2)
        clock.advance(59)
        looks = clock.looks
        eventually(lambda: clock.looks > looks + 2)
        assert client.stats().requests == 1
        clock.advance(1)
        eventually(lambda: client.stats().requests == 2)
        looks = clock.looks
        eventually(lambda: clock.looks > looks + 2)
        clock.advance(120)
        eventually(lambda: client.stats().delivered == 5)
    assert sandbox.people["ada"].events == ids
    assert sum("CUSTOMERIO_API_KEY" in record.getMessage() for record in caplog.records) == 1


def test_a_rotated_key_is_picked_up(sandbox, tmp_path, eventually):
    """A key from a file is read at each request, so replacing the file ends a refusal without a restart."""
    key = tmp_path / "key"
    key.write_text("old")
    seen = []

    def remember(request: httpx.Request) -> None:
        seen.append(request.headers["authorization"])

    with httpx.Client(event_hooks={"request": [remember]}) as http:
        values = {**sandbox.settings, "api_key": key, "backend": "direct"}
        with cio.Client(cio.Settings(**values), http_client=http) as client:
            client.track("one", person="ada")
            key.write_text("new\n")
            client.track("two", person="ada")
    assert [httpx.BasicAuth(sandbox.site_id, word)._auth_header for word in ("old", "new")] == seen


@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("backend", ["queued", "direct"])
def test_a_client_of_either_family_is_used_and_stays_open(sandbox, family, backend):
    """An httpx or httpx2 client that is given sends the events, with our credentials, and is its owner's to close."""
    with family.Client(auth=("someone", "else"), params={"a": "1"}, headers={"Authorization": "other"}) as http:
        values = {**sandbox.settings, "backend": backend}
        with cio.Client(cio.Settings(**values), http_client=http) as client:
            client.track("step", person="ada")
            assert client.flush(5)
        assert not http.is_closed
    assert sandbox.count("step") == 1


@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_an_async_client_of_either_family_is_used(sandbox, family):
    """The same for the awaited verbs of the direct backend."""
    async with family.AsyncClient() as http:
        values = {**sandbox.settings, "backend": "direct"}
        client = cio.Client(cio.Settings(**values), async_http_client=http)
        assert await client.atrack("step", person="ada")
        await client.aclose()
        assert not http.is_closed
    assert sandbox.count("step") == 1


def test_a_client_of_the_wrong_colour_is_refused(sandbox):
    """An async client where a sync one is needed is found at construction, with what to pass."""
    values = cio.Settings(**sandbox.settings)
    with pytest.raises(cio.ConfigurationError, match=r"httpx\.Client"):
        cio.Client(values, http_client=httpx.AsyncClient())  # type: ignore[arg-type]  # that is the mistake
    with pytest.raises(cio.ConfigurationError, match=r"httpx\.AsyncClient"), httpx.Client() as http:
        cio.Client(values, async_http_client=http)  # type: ignore[arg-type]  # that is the mistake


@pytest.mark.parametrize("given", [None, httpx, httpx2], ids=["own", "httpx", "httpx2"])
@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG], ids=["info", "debug"])
def test_no_log_line_holds_a_person(sandbox, caplog, given, level):
    """With the root logger wide open, no line of ours or of the HTTP library holds an id, an address or a payload."""
    http = given.Client() if given else None
    client = cio.Client(cio.Settings(**sandbox.settings, retry_base=0.01, flush_interval=0.02), http_client=http)
    sandbox.faults.script(["503", "reset", "400", "ok*"])
    with caplog.at_level(level):
        client.track("large", {"text": "canary" * 8000}, person="canary")
        client.track("step", {"secret": "canary"}, person=cio.Identity(email="canary@example.com"))
        client.track("browsed", anonymous_id="canary")
        client.identify("canary", {"secret": "canary"})
        assert client.flush(5)
        client.close()
    if http is not None:
        http.close()
    assert "canary" not in caplog.text
    assert client.stats().delivered + client.stats().dead_lettered == 4


def test_the_applications_own_calls_are_still_logged(sandbox, caplog):
    """Silence is for our calls alone: the application's use of the same library is logged as before."""
    with httpx.Client() as http, cio.Client(cio.Settings(**sandbox.settings), http_client=http) as client:
        client.track("step", person="ada")
        assert client.flush(5)
        with caplog.at_level(logging.INFO):
            http.get(f"{sandbox.url}/_sandbox/v1/health")
    assert any(record.name == "httpx" for record in caplog.records)


def test_a_full_queue_costs_one_line_and_exact_counts(make_client, sandbox, caplog):
    """An overflow of 500 events is counted to the last one, and logged once."""
    sandbox.faults.script(["hang*"])
    client = make_client(max_queue_events=100, flush_at=1000, flush_interval=60.0)
    with caplog.at_level(logging.WARNING, logger="cio_middleware"):
        results = [client.track("step", {"n": n}, person="ada") for n in range(600)]
    assert results.count(None) == 500
    assert client.stats().dropped == {DropReason.QUEUE_FULL: 500}
    assert len(caplog.records) == 1
    client.close(0.1)


def test_one_connection_carries_all_batches(serve, answer):
    """Batches share one kept connection: nothing is paid for opening it again."""
    connections = set()

    def how(connection: socket.socket, _: bytes) -> None:
        connections.add(connection)
        connection.sendall(answer("200 OK"))

    server = serve(how)
    with cio.Client(settings(server.url)) as client:
        for number in range(20):
            client.track("step", {"n": number}, person="ada")
            assert client.flush(5)
    assert (len(server.requests), len(connections)) == (20, 1)


def test_requests_keep_to_the_rate(make_client, sandbox, clock, eventually):
    """Beyond the burst, requests leave one interval apart, however many batches are due."""
    client = make_client(
        flush_at=1, max_batch_events=1, rate_limit=2.0, flush_interval=5.0, client_options={"clock": clock}
    )
    for number in range(4):
        client.track("step", {"n": number}, person="ada")
    for expected in (1, 2, 3):
        eventually(lambda expected=expected: client.stats().delivered == expected)
        looks = clock.looks
        eventually(lambda looks=looks: clock.looks > looks + 2)
        assert client.stats().requests == expected
        clock.advance(0.5)
    eventually(lambda: client.stats().delivered == 4)


def test_no_request_exceeds_its_bounds(serve, answer):
    """Whatever is queued, no body is larger than max_batch_bytes and none holds more than max_batch_events."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    with cio.Client(settings(server.url, max_batch_bytes=20_000, max_batch_events=50, timeout=5.0)) as client:
        for number in range(400):
            client.track("step", {"n": number, "text": "é" * (number % 300)}, person="ada")
        assert client.flush(10)
        assert client.stats().delivered == 400
    bodies = [request.partition(b"\r\n\r\n")[2] for request in server.requests]
    assert max(map(len, bodies)) <= 20_000
    assert max(body.count(b'"type":"person"') for body in bodies) <= 50
    assert sum(body.count(b'"type":"person"') for body in bodies) == 400
