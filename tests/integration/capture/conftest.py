"""What the capture tests may ask for: real servers, and an ASGI or WSGI call without one for what no server does."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
import waitress

from cio_middleware import Client


@contextlib.contextmanager
def _uvicorn(app: Any) -> Iterator[httpx.Client]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        # The socket listens already: a request that comes before the server waits in line.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=url, trust_env=False, timeout=10) as http:
                yield http
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def _waitress(app: Any) -> Iterator[httpx.Client]:
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=2)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.effective_port}", trust_env=False, timeout=10) as http:
            yield http
    finally:
        # From its own loop: what another thread closes while the loop waits for it stays open.
        server.trigger.pull_trigger(server.close)
        thread.join()


@pytest.fixture(name="serve_asgi")
def _serve_asgi() -> Iterator[Callable[[Any], httpx.Client]]:
    """Serves an ASGI application with uvicorn until the test ends; returns a client that talks to it."""
    with contextlib.ExitStack() as servers:
        yield lambda app: servers.enter_context(_uvicorn(app))


@pytest.fixture(name="serve_wsgi")
def _serve_wsgi() -> Iterator[Callable[[Any], httpx.Client]]:
    """Serves a WSGI application with waitress until the test ends; returns a client that talks to it."""
    with contextlib.ExitStack() as servers:
        yield lambda app: servers.enter_context(_waitress(app))


class Call:
    """One call of an ASGI application without a server."""

    def __init__(self, app: Any, scope: dict[str, Any], on_send: Callable[[Any], object]) -> None:
        self.app = app
        self.scope = scope
        self.sent: list[Any] = []
        self._on_send = on_send

    async def receive(self) -> dict[str, Any]:
        """An empty request."""
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        """Keep what the application answers."""
        self.sent.append(message["type"])
        self._on_send(message)

    def __await__(self) -> Any:
        return self.app(self.scope, self.receive, self.send).__await__()


@pytest.fixture(name="call_asgi")
def _call_asgi() -> Callable[..., Call]:
    """A GET of an ASGI application, to be awaited; keywords go into the scope."""

    def call(app: Any, *, on_send: Callable[[Any], object] = lambda _: None, **scope: Any) -> Call:
        request = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "scheme": "http"}
        return Call(app, {**request, **scope}, on_send)

    return call


@pytest.fixture(name="until")
def _until() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds, for at most two seconds."""

    def wait(condition: Callable[[], bool], *, patience: float = 2.0, interval: float = 0.002) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError("the condition never held")
            time.sleep(interval)

    return wait


@pytest.fixture(name="slow_client")
def _slow_client(make_client: Callable[..., Client]) -> Client:
    """A client that sends nothing by itself, so that what a test sees was sent by a flush."""
    return make_client(flush_interval=60.0)


@pytest.fixture(name="answer")
def _answer() -> Callable[..., Awaitable[None]]:
    """Sends an empty response."""

    async def answer(send: Any, status: int = 200) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return answer


@pytest.fixture(name="clean_environment")
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that knows nothing of Customer.io."""
    for name in [name for name in os.environ if name.startswith("CUSTOMERIO_")]:
        monkeypatch.delenv(name)
    return monkeypatch
