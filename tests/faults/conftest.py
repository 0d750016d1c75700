"""A server that misbehaves on the wire, which no well-behaved server can be made to do."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cio_middleware import Client, Settings
from cio_middleware.testing.clock import ManualClock


class RawServer:
    """Accepts connections on this machine and hands each, with the request's bytes read, to `answer`."""

    def __init__(
        self,
        answer: Callable[[socket.socket, bytes], None],
        *,
        tls: ssl.SSLContext | None = None,
        at_accept: Callable[[socket.socket], None] = lambda _: None,
    ) -> None:
        self._answer = answer
        self._tls = tls
        self._at_accept = at_accept
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.requests: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            stack.enter_context(connection)
            self._at_accept(connection)
            while request := read_request(connection):
                self.requests.append(request)
                self._answer(connection, request)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """One whole request; nothing when the client is gone."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            return b""
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            return b""
        body += more
    return head + b"\r\n\r\n" + body


def answer(status: str, body: bytes = b"{}\n", *headers: str) -> bytes:
    """A well-formed answer."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture(name="answer")
def _answer():
    return answer


@pytest.fixture(name="serve")
def _serve() -> Iterator[Callable[..., RawServer]]:
    """Starts servers that answer as the test says; all are closed at the end."""
    started: list[RawServer] = []

    def start(how: Callable[[socket.socket, bytes], None], **options: Any) -> RawServer:
        server = RawServer(how, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture(name="queue", params=["memory", "spool"])
def _queue(request, tmp_path) -> dict[str, str]:
    """Which queue the processes of a test use, as variables of their environment."""
    spool = {"CUSTOMERIO_SPOOL_DIR": str(tmp_path / "spool"), "CUSTOMERIO_SPOOL_MIN_FREE_BYTES": "0"}
    return {"CUSTOMERIO_QUEUE": request.param, **(spool if request.param == "spool" else {})}


@pytest.fixture(name="run")
def _run(sandbox, queue, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script, as a file of its own, on the sandbox; keywords are variables of its environment."""

    def run(
        script: str, *, warnings: str = "error", timeout: float = 30.0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(script), "utf-8")
        settings = {f"CUSTOMERIO_{name.upper()}": str(value) for name, value in sandbox.settings.items()}
        return subprocess.run(
            [sys.executable, "-W", warnings, path],
            env={"CUSTOMERIO_FLUSH_INTERVAL": "60", "CUSTOMERIO_RETRY_BASE": "0.01", **settings, **queue, **variables},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(name="numbers")
def _numbers(sandbox) -> Callable[[str], list[int]]:
    """What the events of a name carry as `n`, sorted; one that came twice fails the test."""

    def numbers(name: str) -> list[int]:
        assert sandbox.duplicates(name) == 0
        return sorted(event.data["n"] for event in sandbox.good if event.name == name)

    return numbers


@pytest.fixture(name="on")
def _on() -> Iterator[Callable[..., Client]]:
    """Builds clients on a server of the test's own, with quick retries; arguments are settings."""
    made: list[Client] = []

    def make(url: str, *, client_options: dict[str, Any] | None = None, **changes: Any) -> Client:
        quick = {"retry_base": 0.01, "flush_interval": 0.02, "shutdown_timeout": 0.2, "timeout": 5.0}
        account = {"site_id": "site", "api_key": "key", "base_url": url, "allow_insecure": True, "rate_limit": 10_000}
        client = Client(Settings(**{**account, **quick, **changes}), **(client_options or {}))
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture(name="timed_on")
def _timed_on(on: Callable[..., Client], clock: ManualClock) -> Callable[..., Client]:
    """The same on a clock that stands still, sending each event at once."""
    return functools.partial(on, client_options={"clock": clock}, flush_at=1)


@pytest.fixture(name="pass_time")
def _pass_time(clock: ManualClock, eventually: Callable[..., None]) -> Callable[[float], None]:
    """Lets so many seconds pass, and the worker see both what was before and what is then."""

    def look() -> None:
        looks = clock.looks
        eventually(lambda: clock.looks >= looks + 2)

    def wait(seconds: float) -> None:
        look()
        clock.advance(seconds)
        look()

    return wait


@pytest.fixture(name="no_proxy")
def _no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own proxies are not the tests'."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(name="resolve")
def _resolve(monkeypatch):
    """Gives a name addresses of this machine."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def lookup(host, port, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        return [found for address in known.get(name, [name]) for found in real(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return known


@pytest.fixture(name="silent")
def _silent() -> Iterator[Callable[[str, int], int]]:
    """Listens at addresses where no connection is ever accepted, nor refused."""
    with contextlib.ExitStack() as stack:

        def start(address: str, port: int = 0) -> int:
            listener = stack.enter_context(socket.socket())
            listener.bind((address, port))
            listener.listen(0)
            for _ in range(4):  # more than the system keeps waiting
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            return int(listener.getsockname()[1])

        yield start
