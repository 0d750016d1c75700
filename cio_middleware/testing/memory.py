"""
A sandbox without a socket: the same app, called in this process, and a backend that hands it each event at once.

There is nothing to flush, to retry or to lose, so a unit test looks right after it tracked. Whatever is judged,
counted and shown is what the sandbox on a port says, because it is the same code.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from cio_middleware._events import Envelope, Receipt
from cio_middleware.testing._levers import NoFaults
from cio_middleware.testing.sandbox import API_KEY, SITE_ID, Sandbox
from cio_middleware.wire import track

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message

URL = "http://127.0.0.1"
"""By what name the app is called, which lets only this machine in. Nobody connects to it."""


class InProcess(httpx.BaseTransport):
    """Answers requests by calling an ASGI app on an event loop of its own, in a thread."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cio-memory", daemon=True)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request of the handle."""
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        return self.call(request.method, request.url.raw_path, headers, request.read())

    def call(self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> httpx.Response:
        """Answer one request, and wait for it."""
        parts = urlsplit(target.decode("ascii"))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "method": method,
            "path": httpx.URL(f"{URL}{parts.path}").path,
            "raw_path": parts.path.encode("ascii"),
            "query_string": parts.query.encode("ascii"),
            "root_path": "",
            "headers": headers,
            "state": {},
        }
        return asyncio.run_coroutine_threadsafe(self._answer(scope, body), self._loop).result()

    async def _answer(self, scope: dict[str, Any], body: bytes) -> httpx.Response:
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            return pending.pop() if pending else await asyncio.Future()

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        start, *parts = sent
        return httpx.Response(
            start["status"], headers=start["headers"], content=b"".join(part.get("body", b"") for part in parts)
        )

    def end(self) -> None:
        """Stop the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def close(self) -> None:
        """A handle was closed; the others go on."""


class MemoryBackend:
    """Hands each event to the app of a sandbox, and knows no failure."""

    def __init__(self, process: InProcess, site_id: str) -> None:
        self._process = process
        credentials = base64.b64encode(f"{site_id}:{API_KEY}".encode())
        self._headers = [
            (b"host", urlsplit(URL).netloc.encode()),
            (b"authorization", b"Basic " + credentials),
            (b"content-type", b"application/json"),
        ]

    def emit(self, envelope: Envelope, item: bytes) -> Receipt:
        """Have an event judged and stored before this returns."""
        request = track.request([(envelope, item)])
        length = (b"content-length", str(len(request.body)).encode())
        self._process.call("POST", request.path.encode("ascii"), [*self._headers, length], request.body)
        return Receipt()

    def flush(self, timeout: float) -> bool:
        """Nothing is ever pending."""
        del timeout
        return True

    def close(self, timeout: float) -> None:
        """Nothing is held."""


class MemorySandbox(Sandbox):
    """The handle on a workspace of a sandbox without a socket: `client_kwargs` name a backend instead of a URL."""

    def __init__(self, process: InProcess, site_id: str = SITE_ID) -> None:
        super().__init__(URL, site_id, transport=process)
        self.faults = NoFaults()
        self.watch = ""
        self._process = process
        self._backend = MemoryBackend(process, site_id)

    @classmethod
    @contextmanager
    def in_memory(cls, *, site_id: str = SITE_ID) -> Iterator[MemorySandbox]:
        """Make one, and forget it at the end."""
        from cio_middleware.sandbox.app import build_app
        from cio_middleware.sandbox.store import Workspaces

        process = InProcess(build_app(Workspaces()))
        try:
            with cls(process, site_id) as sandbox:
                yield sandbox
        finally:
            process.end()

    def workspace(self, site_id: str) -> MemorySandbox:
        """Return a handle on another workspace."""
        return MemorySandbox(self._process, site_id)

    @property
    def settings(self) -> dict[str, Any]:
        """What a client needs to reach this workspace."""
        return {"site_id": self.site_id, "api_key": API_KEY, "backend": self._backend}

    @property
    def client_kwargs(self) -> dict[str, Any]:
        """The same."""
        return self.settings

    @property
    def env(self) -> dict[str, str]:
        """Nothing: a workspace in memory is reached by no other process, and by no variable."""
        return {}

    def _is_mine(self, client: Any) -> bool:
        return client.settings.backend is self._backend
