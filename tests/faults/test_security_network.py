"""Where the key and the events may go, and what an id may do to the request that carries it (S8 to S10)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

import cio_middleware as cio
from cio_middleware.wire import regions

ROOT = Path(__file__).parents[2]
CERTIFICATE = Path(__file__).parent / "self_signed.pem"

# --------------------------------------------------------------------------------------------------- forged requests

IDS = [
    "a/b", "..", ".", "../../x", "%2f", "%2e%2e", "a?x=1", "a#b", "a\\b", "a b", "a;b", "ü", "a\tb", "a\nb", "//host/x",
    "a\r\nX-Evil: yes\r\n\r\n", "a@b.example", "a+b", "cio_1", ":80", "@host", "a\u2028b",
]  # fmt: skip
V1 = re.compile(rb"POST /api/v1/customers/([A-Za-z0-9_.~%-]+)/events HTTP/1\.1\r\n")


@pytest.mark.parametrize("field", ["id", "email", "cio_id"])
@pytest.mark.parametrize("value", IDS, ids=ascii)
def test_s08_an_id_is_one_segment_of_the_path(serve, answer, field, value):
    """Whatever an id holds, a server receives one request, whose path has the id as one escaped segment and no more."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    account = {"site_id": "site", "api_key": "key", "base_url": server.url, "sandbox_reporting": False}
    settings = cio.Settings(**account, backend="direct", timeout=2.0)
    with cio.Client(settings) as client:
        sent = client.track("step", {"text": "x" * 33_000}, person=cio.Identity(**{field: value}))
    if sent is None:  # v1 would take it for a step in the path, or for another kind of id
        assert not server.requests
        assert client.stats().dropped == {cio.DropReason.EVENT_TOO_LARGE: 1}
        return
    (request,) = server.requests
    head = request.partition(b"\r\n\r\n")[0]
    segment = V1.match(head)
    assert segment is not None
    assert segment[1] not in {b".", b".."}
    assert unquote(segment[1].decode()) == (f"cio_{value}" if field == "cio_id" else value)
    assert b"\nx-evil" not in head.lower()


@pytest.mark.parametrize("value", ["a/b", "%2f", "a?x=1", "a\\b", "../../x"])
def test_s08_hostile_ids_do_travel_by_their_path(sandbox, value):
    """An event about such a person arrives, about that person: it is escaped, not left out."""
    with cio.Client(cio.Settings(**sandbox.settings, backend="direct")) as client:
        assert client.track("step", {"text": "x" * 33_000}, person=value)
    assert sandbox.people[value].event_names == ["step"]


@pytest.mark.parametrize("value", ["a\nb", "a\r\nX-Evil: yes\r\n\r\n", "a\x00"], ids=ascii)
def test_s08_an_id_with_a_line_break_holds_up_nobody(sandbox, value):
    """It goes in a batch or not at all: no route need match it, and the events of others are delivered."""
    with cio.Client(cio.Settings(**sandbox.settings, flush_interval=0.01)) as client:
        client.track("large", {"text": "x" * 33_000}, person=value)
        client.track("step", person=value)
        client.track("step", person="ada")
        assert client.flush(5)
    assert client.stats().dropped == {cio.DropReason.EVENT_TOO_LARGE: 1}
    assert client.stats().delivered + client.stats().dead_lettered == 2
    assert sandbox.people["ada"].event_names == ["step"]


@pytest.mark.parametrize("field", ["site_id", "api_key"])
@pytest.mark.parametrize("value", ["a\r\nX-Evil: yes", "a\nb", "a b", "a\x00", "ü"], ids=ascii)
def test_s08_credentials_cannot_add_a_header(field, value):
    """A site id or a key with a character that none has is refused before anything is sent."""
    given: dict[str, Any] = {"site_id": "site", "api_key": "key", field: value}
    with pytest.raises(cio.ConfigurationError, match=f"{field} holds a character"):
        cio.Client(cio.Settings(**given))


# -------------------------------------------------------------------------------------------------- somewhere else

REFUSED = [
    "http://example.com", "http://127.0.0.1.example.com", "http://localhost.example.com", "http://127.1",
    "http://0.0.0.0", "http://2130706433", "http://[::ffff:1.2.3.4]", "http://169.254.169.254",
    "http://127.0.0.1\\.example.com", "http://127.0.0.1@example.com", "http://example.com#@127.0.0.1",
    "https://user:pw@host", "https://host?x", "https://host#x", "https:host", "//host", "ftp://127.0.0.1",
    "file:///etc/passwd", "unix:///run/x", "javascript:x", "https://", "https://ho st", "https://host\r\nX: y",
    "https://host:port", "http://[::1", "", " ",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED, ids=ascii)
def test_s09_only_https_or_this_machine_is_sent_to(url):
    """A `base_url` that is neither https nor plain http to this machine, or that hides another host, is refused."""
    with pytest.raises(cio.ConfigurationError, match="base_url"):
        cio.Client(cio.Settings(site_id="site", api_key="key", base_url=url))


@pytest.mark.parametrize(
    "url", ["https://host", "https://host:8443/x", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"]
)
def test_s09_https_and_this_machine_are_taken(url):
    """The rules above refuse no address that is safe."""
    cio.Client(cio.Settings(site_id="site", api_key="key", base_url=url)).close()


TRACK, TRACK_EU = "https://track.customer.io", "https://track-eu.customer.io"
ELSEWHERE = [
    f"{TRACK_EU}.example.com/x", f"{TRACK_EU}@example.com/", "//example.com/", f"https://example.com/{TRACK_EU}",
    "http://track-eu.customer.io/", f"{TRACK_EU}:444/", f"{TRACK_EU}\\@example.com", f"https://example.com?{TRACK_EU}",
    f"{TRACK_EU}./", "https://user@track-eu.customer.io/", "https://cdp.customer.io/", "https://api.customer.io/",
    "file:///etc/passwd", "/other", "", "https://[", f"{TRACK}/x",
]  # fmt: skip


@pytest.mark.parametrize("location", ELSEWHERE)
def test_s09_a_redirect_leads_to_the_other_track_host_or_nowhere(location):
    """Of all targets that a redirect may name, only the Track host of the other region is gone to."""
    assert regions.moved_to(TRACK, location) is None


@pytest.mark.parametrize("current", ["https://mine.example", "http://127.0.0.1:1", "http://track.customer.io"])
def test_s09_a_redirect_is_followed_between_the_two_hosts_alone(current):
    """From a `base_url` of one's own no redirect leads away; between Customer.io's own hosts its path is ignored."""
    assert regions.moved_to(current, f"{TRACK_EU}/x") is None
    assert regions.moved_to(TRACK, f"{TRACK_EU}/x") == TRACK_EU
    assert regions.moved_to(TRACK_EU, f"{TRACK}/x") == TRACK


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("given", [False, True], ids=["own", "given"])
def test_s09_no_redirect_carries_the_key_to_another_server(serve, answer, eventually, status, given):
    """A second server that a redirect points to hears nothing, even where the client that was given follows them."""
    other = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    first = serve(lambda connection, _: connection.sendall(answer(f"{status} Moved", b"", f"Location: {other.url}/x")))
    quick: dict[str, Any] = {"flush_interval": 0.01, "shutdown_timeout": 0.1}
    settings = cio.Settings(site_id="site", api_key="key", base_url=first.url, **quick)
    with httpx.Client(follow_redirects=True) as http, cio.Client(settings, http_client=http if given else None) as it:
        it.track("step", person="ada")
        eventually(lambda: first.requests)
    assert not other.requests
    assert it.stats().delivered == 0


class Secured:
    """A server of https with a certificate that nobody signed."""

    def __init__(self) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(CERTIFICATE)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.refused = self.requests = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._serve(connection)
                except OSError:
                    self.refused += 1

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with self._tls.wrap_socket(connection, server_side=True) as secure:
            received = b""
            while not received.endswith(b"}]}"):  # a whole batch
                more = secure.recv(65536)
                if not more:
                    return
                received += more
            self.requests += 1
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.mark.parametrize("way", ["queued", "direct", "awaited"])
@pytest.mark.parametrize("trusted", [False, True], ids=["stranger", "trusted"])
def test_s10_a_certificate_that_nobody_signed_gets_no_request(monkeypatch, eventually, way, trusted):
    """Not a byte is sent over TLS that cannot be verified; only whoever runs the process may trust a certificate."""
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    server = Secured()
    backend = "queued" if way == "queued" else "direct"
    quick: dict[str, Any] = {"retries": 0, "flush_interval": 0.01, "shutdown_timeout": 0.2, "timeout": 2.0}
    url = f"https://localhost:{server.port}"
    client = cio.Client(
        cio.Settings(site_id="site", api_key="key", base_url=url, backend=backend, allow_insecure=True, **quick)
    )
    if way == "awaited":

        async def once() -> None:
            await client.atrack("step", person="ada")
            await client.aclose()

        asyncio.run(once())
    else:
        client.track("step", person="ada")
    eventually(lambda: client.stats().delivered if trusted else server.refused)
    client.close()
    server.close()
    assert (server.requests, client.stats().delivered) == ((1, 1) if trusted else (0, 0))


def test_s10_no_setting_switches_verification_off():
    """There is no knob for it: what is insecure is called so, and is about plain http alone."""
    names = [field for field in cio.Settings.__dataclass_fields__ if re.search("verif|tls|ssl|cert|insecure", field)]
    assert names == ["allow_insecure"]
    package = "".join(path.read_text("utf-8") for path in sorted((ROOT / "cio_middleware").rglob("*.py")))
    assert not re.search(r"verify\s*=\s*False|CERT_NONE|check_hostname\s*=\s*False|_create_unverified", package)
