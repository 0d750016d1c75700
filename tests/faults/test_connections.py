"""What can happen on the way to Customer.io (faults 1 to 13); see also test_network and test_transport."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

import cio_middleware as cio
from cio_middleware import DropReason
from cio_middleware.transports.http import AsyncHttpTransport, HttpTransport, Patience
from cio_middleware.typing import Answer, Failure, Request, Response

pytestmark = pytest.mark.usefixtures("no_proxy")
WAYS = pytest.mark.parametrize("way", ["sync", "async"])
REQUEST = Request("/api/v2/batch", "/api/v2/batch", b"{}", 1)


def sends(way: str, url: str, patience: Patience, times: int = 1, timeout: float = 20.0) -> list[Answer]:
    """What a transport of our own brings back, one request after the other."""
    if way == "sync":
        transport = HttpTransport(lambda: ("site", "key"), patience=patience)
        try:
            return [transport.send(url, REQUEST, timeout) for _ in range(times)]
        finally:
            transport.close()

    async def main() -> list[Answer]:
        transport = AsyncHttpTransport(lambda: ("site", "key"), patience=patience)
        answers = [await transport.send(url, REQUEST, timeout) for _ in range(times)]
        await transport.close()
        return answers

    return asyncio.run(main())


def track(client: cio.Client, way: str) -> str | None:
    """Capture one event, by a thread's verb or an awaited one."""
    if way == "sync":
        return client.track("step", person="ada")

    async def main() -> str | None:
        return await client.atrack("step", person="ada")

    return asyncio.run(main())


def test_01_a_name_that_resolves_later_loses_nothing(serve, answer, on, monkeypatch, caplog):
    """While a name does not resolve the events wait; once it does they arrive, and the log has a line for each turn."""
    failures = iter(range(3))
    real = socket.getaddrinfo

    def lookup(host, port, *args, **kwargs):
        if host != "shop.example":
            return real(host, port, *args, **kwargs)
        if next(failures, None) is not None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1", port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    with caplog.at_level(logging.WARNING, logger="cio_middleware"):
        client = on(server.url.replace("127.0.0.1", "shop.example"), flush_at=1)
        client.track("step", person="ada")
        assert client.flush(5)
    stats = client.stats()
    assert (stats.delivered, stats.requests, len(server.requests)) == (1, 4, 1)
    assert [("not taking" in text, "again" in text) for text in caplog.messages] == [(True, False), (False, True)]


@WAYS
def test_03_connecting_has_a_limit_of_its_own(silent, way):
    """A host that is silent is given up after the time for connecting, long before the time for the whole attempt."""
    started = time.monotonic()
    (told,) = sends(way, f"http://127.0.0.1:{silent('127.0.0.1')}", Patience(connect=0.2))
    assert time.monotonic() - started < 10
    assert isinstance(told, Failure)
    assert told.error.endswith("ConnectTimeout")


@WAYS
def test_03_an_answer_may_take_longer_than_connecting(serve, answer, way):
    """The limit of connecting is not one of reading: a server that thinks for longer is waited for."""
    thinks = threading.Event()

    def how(connection: socket.socket, _: bytes) -> None:
        thinks.wait(0.4)
        connection.sendall(answer("200 OK"))

    (told,) = sends(way, serve(how).url, Patience(connect=0.2))
    assert isinstance(told, Response)


def test_03_a_host_that_is_silent_keeps_the_events(silent, on, eventually):
    """Nothing is lost to a host that never takes a connection."""
    client = on(f"http://127.0.0.1:{silent('127.0.0.1')}", timeout=0.1)
    client.track("step", person="ada")
    eventually(lambda: client.stats().retries >= 1)
    assert client.stats().pending == 1


CERTIFICATES = Path(__file__).parent / "certificates"


def tls(name: str) -> ssl.SSLContext:
    """The server's side of a certificate that signed itself."""
    side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    side.load_cert_chain(CERTIFICATES / f"{name}.pem")
    return side


@pytest.fixture(name="mute")
def _mute(serve):
    """A server that takes connections and never says a word, and how many of them are over."""
    over = []

    def at_accept(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass
        over.append(connection)

    return serve(lambda *_: None, at_accept=at_accept), over


def test_03_a_handshake_that_takes_too_long_keeps_no_socket(mute, eventually):
    """When the time of a whole attempt ends in the middle of TLS, the connection is closed, not left to the loop."""
    server, over = mute

    async def main() -> None:
        transport = AsyncHttpTransport(lambda: ("site", "key"))
        while not server.connections:  # the first ones may spend their time on the machine's certificates
            await transport.send(server.url.replace("http", "https"), REQUEST, 0.2)
        await asyncio.to_thread(eventually, lambda: len(over) == server.connections)
        await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_03_a_send_that_is_cancelled_keeps_no_socket(mute, eventually, scheme):
    """At whichever step its task is cancelled, what it opened is closed while the loop goes on."""
    server, over = mute
    url = server.url.replace("http", scheme)

    async def cancelled_after(transport: AsyncHttpTransport, steps: int) -> None:
        sending = asyncio.create_task(transport.send(url, REQUEST, 20.0))
        for _ in range(steps):
            await asyncio.sleep(0)
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending

    async def main() -> None:
        transport = AsyncHttpTransport(lambda: ("site", "key"))
        await transport.send(url, REQUEST, 0.2)  # so that no step is spent on certificates any more
        for steps in range(60):
            await cancelled_after(transport, steps)
        await transport.close()
        await asyncio.to_thread(eventually, lambda: len(over) == server.connections)

    asyncio.run(main())
    assert server.connections > 1


@pytest.fixture(name="secure", params=["unknown", "of somebody else"])
def _secure(request, serve, answer, monkeypatch):
    """A server whose certificate cannot be verified: nobody vouches for it, or it is another host's."""
    name = "this_machine" if request.param == "unknown" else "somebody_else"
    if name == "somebody_else":
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / f"{name}.pem"))
    return serve(lambda connection, _: connection.sendall(answer("200 OK")), tls=tls(name))


def test_04_a_certificate_that_is_not_verified_keeps_everything(secure, timed_on, pass_time, eventually, caplog):
    """Nothing is sent to whoever that is: one try a minute, and one line says what to check."""
    client = timed_on(secure.url)
    with caplog.at_level(logging.INFO):
        client.track("step", person="ada")
        eventually(lambda: client.stats().requests == 1)
        pass_time(59)
        assert client.stats().requests == 1
        pass_time(1)
        eventually(lambda: client.stats().requests == 2)
    assert client.stats().pending == 1
    assert secure.requests == []
    (line,) = caplog.messages
    assert "certificate" in line
    assert "SSL_CERT_FILE" in line


@WAYS
def test_04_a_direct_delivery_fails_at_once_on_such_a_certificate(secure, on, way):
    """Trying again within the second would not change a certificate: one request, and an error that names it."""
    client = on(secure.url, backend="direct", on_error="raise")
    with pytest.raises(cio.TransportFailure, match="certificate"):
        track(client, way)
    assert secure.requests == []
    assert client.stats().requests == 1
    assert client.stats().dropped == {DropReason.RETRIES_EXHAUSTED: 1}


@WAYS
def test_04_a_certificate_that_the_environment_vouches_for_is_taken(serve, answer, on, monkeypatch, way):
    """SSL_CERT_FILE names the authority of a company's proxy, and verification stays on."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "this_machine.pem"))
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")), tls=tls("this_machine"))
    assert track(on(server.url, backend="direct"), way)


def test_05_a_connection_that_is_cut_at_once_is_tried_again(serve, answer, on):
    """A connection that is closed before a byte of the request was read costs a retry and no event."""
    cut = iter(range(2))

    def at_accept(connection: socket.socket) -> None:
        if next(cut, None) is not None:
            connection.close()

    server = serve(lambda connection, _: connection.sendall(answer("200 OK")), at_accept=at_accept)
    client = on(server.url)
    client.track("step", person="ada")
    assert client.flush(5)
    assert (client.stats().delivered, client.stats().requests, len(server.requests)) == (1, 3, 1)


def test_06_a_reset_after_acceptance_resends_the_same_ulids(make_client, sandbox):
    """A lost reply is retried with the same ids, so Customer.io sees each event once."""
    sandbox.faults.script(["ack_lost", "ok*"])
    client = make_client()
    ids = [client.track("step", {"n": n}, person="ada") for n in range(5)]
    assert client.flush(5)
    assert sandbox.people["ada"].events == ids
    assert sandbox.duplicates("step") == 5
    assert (client.stats().delivered, client.stats().retries) == (5, 1)


def test_07_an_answer_that_does_not_come_resends_the_same_bytes(serve, answer, on):
    """After `timeout` the same bytes go out again on another connection, where no late answer can be mistaken."""
    turns, late = itertools.count(), threading.Event()

    def how(connection: socket.socket, _: bytes) -> None:
        if next(turns) == 0:
            late.wait(10)
        connection.sendall(answer("200 OK"))

    server = serve(how)
    client = on(server.url, timeout=0.2)
    client.track("step", person="ada")
    assert client.flush(5)
    late.set()
    bodies = {request.partition(b"\r\n\r\n")[2] for request in server.requests}
    assert (len(server.requests), len(bodies), server.connections) == (2, 1, 2)
    assert client.stats().delivered == 1


def closing_after(answers: int, good: bytes):
    """Answer so many requests on each connection, and close it at the next."""
    served: dict[socket.socket, int] = {}

    def how(connection: socket.socket, _: bytes) -> None:
        served[connection] = served.get(connection, 0) + 1
        if served[connection] > answers:
            connection.shutdown(socket.SHUT_RDWR)
        else:
            connection.sendall(good)

    return how


@WAYS
def test_11_a_kept_connection_that_is_gone_is_replaced_at_once(serve, answer, way):
    """When a kept connection breaks at its next use, the request goes out again on a new one, without a wait."""
    server = serve(closing_after(1, answer("200 OK")))
    told = sends(way, server.url, Patience(idle=0.0), times=3)
    assert [isinstance(one, Response) for one in told] == [True, True, True]
    assert (len(server.requests), server.connections) == (5, 3)


@WAYS
def test_11_a_new_connection_that_breaks_is_a_failure(serve, answer, way):
    """Only a kept connection can be stale: one that breaks at its first use is not tried again at once."""
    server = serve(closing_after(0, answer("200 OK")))
    (told,) = sends(way, server.url, Patience(idle=0.0))
    assert isinstance(told, Failure)
    assert len(server.requests) == 1


@WAYS
def test_11_a_connection_that_was_just_used_is_not_stale(serve, answer, way):
    """A server that closes in the middle of traffic fails, and is not hammered without a wait."""
    server = serve(closing_after(1, answer("200 OK")))
    told = sends(way, server.url, Patience(idle=60.0), times=2)
    assert [isinstance(one, Response) for one in told] == [True, False]
    assert len(server.requests) == 2


def test_11_a_stale_connection_is_no_attempt(serve, answer, on, eventually):
    """With no retries left to spend, an event after a pause is delivered all the same, as its first attempt."""
    server = serve(closing_after(1, answer("200 OK")))
    client = on(server.url, backend="direct", retries=0)
    assert client.track("step", person="ada")
    pause = time.monotonic() + Patience().idle
    eventually(lambda: time.monotonic() > pause)
    assert client.track("step", person="ada")
    assert (client.stats().delivered, client.stats().requests, client.stats().retries) == (2, 2, 0)


@pytest.fixture(name="proxied")
def _proxied(serve, answer, monkeypatch):
    """Puts a proxy in between, which answers by itself."""

    def start(scheme: str, status: str):
        proxy = serve(lambda connection, _: connection.sendall(answer(status, b"<html></html>")))
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url)
        return proxy

    return start


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("status", "probes"), [("407 Proxy Authentication Required", True), ("502 Bad Gateway", False)]
)
def test_12_what_a_proxy_says_by_itself_loses_nothing(
    proxied, timed_on, pass_time, eventually, caplog, scheme, status, probes
):
    """A proxy that wants a password is asked once a minute and named in the log; one that has a bad day, soon."""
    proxy = proxied(scheme, status)
    client = timed_on(f"{scheme}://shop.example", retry_base=10.0)
    with caplog.at_level(logging.WARNING, logger="cio_middleware"):
        client.track("step", person="ada")
        eventually(lambda: client.stats().requests == 1)
        pass_time(10.5)
        eventually(lambda: client.stats().requests == (1 if probes else 2))
    assert client.stats().pending == 1
    assert ("HTTPS_PROXY" in caplog.text) is probes
    assert all((request.split()[0] == b"CONNECT") == (scheme == "https") for request in proxy.requests)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "308 Permanent"])
def test_13_a_redirect_elsewhere_is_not_followed(serve, answer, timed_on, pass_time, eventually, caplog, status):
    """The events stay here, the key as well, and one line says what to check."""
    thief = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    to = f"Location: {thief.url}/api/v2/batch"
    server = serve(lambda connection, _: connection.sendall(answer(status, b"", to)))
    client = timed_on(server.url)
    with caplog.at_level(logging.WARNING, logger="cio_middleware"):
        client.track("step", person="ada")
        eventually(lambda: client.stats().requests == 1)
        pass_time(59)
    assert (client.stats().requests, client.stats().pending, thief.requests) == (1, 1, [])
    assert sum("redirects elsewhere" in text for text in caplog.messages) == 1
