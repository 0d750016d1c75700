"""
HTTP by httpx or httpx2: one pool of connections, made at the first send and anew after a fork.

Five things are added to what the library does: a deadline over the whole call, which a server that drips one byte a
second cannot stretch; a cap on what is read of an answer; a second try where a kept connection turns out to be gone;
silence, because the library logs every URL at INFO and a URL of the Track API may hold a person's id; and no key in any
frame that an exception carries away.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first connection imports it in our thread, which a fork may cut off
import logging
import platform
import socket
import ssl
import sys
import threading
import time
import traceback
import weakref
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._fork import WATCH
from .._semconv import VERSION
from ..exceptions import ConfigurationError
from ..typing import Answer, AsyncHTTPClient, Failure, HTTPClient, Request, Response

if TYPE_CHECKING:
    import asyncio

    import httpx

MAX_ANSWER_BYTES = 64 * 1024
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    # An answer that cannot be inflated cannot be a bomb.
    "Accept-Encoding": "identity",
    "User-Agent": f"cio-middleware/{VERSION} python/{platform.python_version()}",
}
_KEPT = ("retry-after", "location", "date", "x-cio-sandbox")


@dataclass(frozen=True, slots=True)
class Patience:
    """
    Seconds that our own clients count by.

    `connect`: to reach an address, and to agree on TLS with it; who is silent so long will not answer later either.
    `idle`: a connection that breaks sooner after the last answer was not closed for being idle, so it is a failure.
    """

    connect: float = 3.0
    idle: float = 1.0


_PATIENCE = Patience()

Credentials = Callable[[], tuple[str, str]]
"""Returns site id and API key; asked at each request, so that a rotated key is used at once."""


class _Auth:
    """
    Signs a request, as httpx and httpx2 let a callable do.

    The key is asked for here and nowhere else, so that no frame that waits for the network holds it.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = "Basic " + b64encode(":".join(self._credentials()).encode()).decode("ascii")
        return request

    def __repr__(self) -> str:
        return "<credentials>"


class HttpTransport:
    """The `Transport` of threads."""

    def __init__(
        self, credentials: Credentials, client: HTTPClient | None = None, *, patience: Patience = _PATIENCE
    ) -> None:
        self._auth = _Auth(credentials)
        self._given = client
        self._patience = patience
        self._answered_at = time.monotonic()
        self._made: httpx.Client | None = None
        self._inherited: list[httpx.Client] = []
        # A signal's handler may come here while its own thread is here.
        self._lock = threading.RLock()
        if client is None:
            # Now, and not at the first send, so that the first event is as quick as the others.
            _import_httpx()
        _silence(client)

    def after_fork(self) -> None:
        """Let go of the parent's connections without closing them, which would wait for a lock that nobody frees."""
        if self._made is not None:
            self._inherited.append(self._made)
        self._made = None
        self._lock = threading.RLock()

    def send(self, base_url: str, request: Request, timeout: float) -> Answer:
        """
        One POST. A client that was given bounds each read by `timeout`; our own bounds the whole call.

        Raises:
            BaseException: what the application itself raised in this thread, say a signal's handler.
        """
        handled = sys.exception()
        try:
            with _sending(timeout) as deadline:
                while True:
                    watch = _Watch(self._patience, self._answered_at, handled)
                    arguments = _arguments(self._auth, request.body, timeout)
                    if self._given is None:
                        arguments |= watch.over(timeout, watch.note)
                    try:
                        answer = self._post(base_url + request.path, arguments, deadline)
                    except Exception as error:
                        if not watch.found_stale(error):
                            raise
                    else:
                        self._answered_at = time.monotonic()
                        return answer
        except BaseException as error:  # noqa: BLE001 - whatever a network or a foreign client does is an answer here
            if isinstance(error, Exception) and (self._given is not None or _foreign(error, handled) is None):
                return _failure(error, handled)
            raise _released(error, handled)  # noqa: B904 - as if we had not been here

    def _post(self, url: str, arguments: dict[str, Any], deadline: float) -> Response:
        with self._client().stream("POST", url, **arguments) as response:
            if response.is_stream_consumed:  # a test's double answers with a body that is read already
                return _response(response.status_code, response.headers, response.content)
            read = bytearray()
            for chunk in response.iter_raw():
                read += chunk
                if len(read) >= MAX_ANSWER_BYTES:
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError
            return _response(response.status_code, response.headers, read)

    def _client(self) -> Any:
        if self._given is not None:
            return self._given
        with self._lock:
            if self._made is None:
                made = _make_client()
                self._made = self._made or made  # a signal's handler may have made one meanwhile
            return self._made

    def close(self) -> None:
        """Close the connections that were made here; a client that was given is its owner's."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.close()


@dataclass(slots=True)
class _Loop:
    """What was opened on one event loop. The sockets are known by themselves, since nothing else closes without it."""

    # By proxy, whose URL may hold a password.
    clients: dict[tuple[bool, str], httpx.AsyncClient] = field(default_factory=dict, repr=False)
    sockets: weakref.WeakSet[socket.socket] = field(default_factory=weakref.WeakSet)
    keeper: AsyncGenerator[None, None] | None = None

    def note(self, response: httpx.Response) -> None:
        """Remember the socket that an answer came by."""
        stream = response.extensions.get("network_stream")
        # asyncio wraps the socket; uvloop has none to show, and closes its own.
        if opened := getattr(stream and stream.get_extra_info("socket"), "_sock", None):
            self.sockets.add(opened)


class AsyncHttpTransport:
    """
    The `AsyncTransport` of asyncio: pools per event loop, since connections belong to the loop that opened them.

    They are closed when their loop ends, or, if it was closed without its asynchronous generators, when another loop
    sends for the first time: a process that runs one loop after the other holds no more than the last one's.
    """

    def __init__(
        self, credentials: Credentials, client: AsyncHTTPClient | None = None, *, patience: Patience = _PATIENCE
    ) -> None:
        self._auth = _Auth(credentials)
        self._given = client
        self._patience = patience
        self._answered_at = time.monotonic()
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        self._inherited: list[object] = []
        self._tls: dict[bool, ssl.SSLContext] = {}
        _silence(client)

    def after_fork(self) -> None:
        """Let go of the parent's connections without closing them."""
        self._inherited.append(self._loops)
        self._loops = {}

    async def send(self, base_url: str, request: Request, timeout: float) -> Answer:  # noqa: ASYNC109 - the contract
        """
        One POST, bounded as a whole.

        Raises:
            BaseException: what the application itself raised, and the task's cancellation.
        """
        import asyncio

        handled = sys.exception()
        try:
            with _sending(timeout):
                async with asyncio.timeout(timeout):
                    while True:
                        watch = _Watch(self._patience, self._answered_at, handled)
                        arguments = _arguments(self._auth, request.body, timeout)
                        if self._given is None:
                            arguments |= watch.over(timeout, watch.anote)
                        try:
                            answer = await self._post(base_url, request.path, arguments)
                        except Exception as error:
                            if not watch.found_stale(error):
                                raise
                        else:
                            self._answered_at = time.monotonic()
                            return answer
        except BaseException as error:  # noqa: BLE001 - as above
            if isinstance(error, Exception) and (self._given is not None or _foreign(error, handled) is None):
                return _failure(error, handled)
            raise _released(error, handled)  # noqa: B904 - as if we had not been here

    async def _post(self, base_url: str, path: str, arguments: dict[str, Any]) -> Response:
        loop = None if self._given is not None else await self._loop()
        client: Any = self._given if loop is None else await self._client(loop, base_url)
        async with client.stream("POST", base_url + path, **arguments) as response:
            if loop is not None:
                loop.note(response)
            if response.is_stream_consumed:  # as above
                return _response(response.status_code, response.headers, response.content)
            read = bytearray()
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) >= MAX_ANSWER_BYTES:
                    break
            return _response(response.status_code, response.headers, read)

    async def _client(self, loop: _Loop, base_url: str) -> httpx.AsyncClient:
        url = urlsplit(base_url)
        secure = url.scheme == "https"
        if (tls := self._tls.get(secure)) is None:
            import asyncio

            # Certificates and imports take up to 0.2 s, for which a loop must not stand still.
            tls = await asyncio.to_thread(self._context, secure=secure)
        from ._deadline import make_async_client, proxy_of

        proxy = proxy_of(url.scheme, url.hostname or "", url.port)
        if (client := loop.clients.get((secure, proxy))) is None:
            client = loop.clients[secure, proxy] = make_async_client(tls, proxy, secure=secure)
        return client

    def _context(self, *, secure: bool) -> ssl.SSLContext:
        with WATCH.one_at_a_time():  # a hundred tasks may be the first at once
            _import_httpx()
            from ._deadline import make_tls

            if secure not in self._tls:
                self._tls[secure] = make_tls(secure=secure)
            return self._tls[secure]

    async def _loop(self) -> _Loop:
        import asyncio

        running = asyncio.get_running_loop()
        if (ours := self._loops.get(running)) is None:
            self._sweep()
            ours = self._loops[running] = _Loop()
            ours.keeper = self._keep(running, ours)
            await anext(ours.keeper)
        return ours

    async def _keep(self, running: asyncio.AbstractEventLoop, ours: _Loop) -> AsyncGenerator[None, None]:
        """Stand still until `asyncio.run` and its like close their loop's generators, and close what was opened."""
        try:
            yield
        finally:
            if self._loops.get(running) is ours:
                del self._loops[running]
            for client in ours.clients.values():
                await client.aclose()

    def _sweep(self) -> None:
        for running, ours in list(self._loops.items()):
            if running.is_closed():
                self._loops.pop(running, None)
                for opened in list(ours.sockets):
                    opened.close()

    async def close(self) -> None:
        """Close this loop's connections."""
        import asyncio

        ours = self._loops.pop(asyncio.get_running_loop(), None)
        if ours is not None and ours.keeper is not None:
            await ours.keeper.aclose()


def check_client(client: object, *, asynchronous: bool) -> None:
    """
    A client that was given must be of the right colour.

    Raises:
        ConfigurationError: it has no `stream`, or it is async where a sync one is needed, or the other way round.
    """
    if client is None:
        return
    needed = "httpx.AsyncClient" if asynchronous else "httpx.Client"
    closes = "aclose" if asynchronous else "close"
    if not callable(getattr(client, "stream", None)) or not callable(getattr(client, closes, None)):
        name = "async_http_client" if asynchronous else "http_client"
        message = f"{name} is a {type(client).__name__}. Pass an {needed}, or its namesake of httpx2."
        raise ConfigurationError(message)


def _arguments(auth: _Auth, body: bytes, timeout: float) -> dict[str, Any]:
    return {"content": body, "headers": _HEADERS, "auth": auth, "timeout": timeout, "follow_redirects": False}


def _import_httpx() -> None:
    with WATCH.one_at_a_time():
        from . import _deadline  # noqa: F401
    _silence_named("httpx")


def _make_client() -> httpx.Client:
    import httpx

    from ._deadline import DeadlineTransport

    return httpx.Client(transport=DeadlineTransport(time_left))


def _response(status: int, headers: Mapping[str, str], body: bytes | bytearray) -> Response:
    kept = {name: headers[name] for name in _KEPT if name in headers}
    return Response(status, kept, bytes(body[:MAX_ANSWER_BYTES]), time.time())


class _Watch:
    """
    One call by our own client, as httpcore tells it: was its connection a kept one, and did any answer come by it?

    A server closes a connection that nobody used for a while, and its word may cross our next request on the way.
    """

    def __init__(self, patience: Patience, answered_at: float, handled: BaseException | None) -> None:
        self._connect = patience.connect
        self._idle = time.monotonic() - answered_at >= patience.idle
        self._handled = handled
        self._sent = self._connected = self._answered = False
        self._stream: Any = None

    def over(self, timeout: float, note: Callable[[str, Mapping[str, Any]], object]) -> dict[str, Any]:
        """Arguments for a client that is our own: where it reports, and the limits of connecting and of the rest."""
        return {"timeout": (min(self._connect, timeout), timeout, timeout, timeout), "extensions": {"trace": note}}

    def note(self, step: str, _: Mapping[str, Any]) -> None:
        """Be told a step of the call."""
        self._sent |= step.endswith(".send_request_headers.started")
        self._connected |= step.endswith(".connect_tcp.started")
        self._answered |= step.endswith(".receive_response_headers.complete")

    async def anote(self, step: str, told: Mapping[str, Any]) -> None:
        """Be told the same, awaited."""
        self.note(step, told)
        if step.endswith(".connect_tcp.complete"):
            self._stream = told["return_value"]
        elif step.endswith(".start_tls.failed") and self._stream is not None:
            # httpcore closes nothing when a handshake is cancelled, and the loop would hold the socket for ever.
            await self._stream.aclose()

    def found_stale(self, error: Exception) -> bool:
        """
        Whether the call failed because the kept connection was gone; each such one is let go, so a new one comes next.

        That is the connection's end and nobody's failure: no attempt is counted for it, and nothing is waited for.
        """
        gone = self._idle and self._sent and not self._connected and not self._answered
        broken = type(error).__name__ in {"ReadError", "WriteError", "RemoteProtocolError"}
        return gone and broken and _foreign(error, self._handled) is None


def _failure(error: Exception, handled: BaseException | None) -> Answer:
    """What a call that failed tells."""
    if type(error).__name__ == "ProxyError" and str(error).startswith("407"):
        return Response(407, {}, b"", time.time())  # the proxy's answer to CONNECT, which httpcore makes an exception
    link: BaseException | None = error
    while link is not None and link is not handled:
        if isinstance(link, ssl.SSLCertVerificationError):
            return Failure(_name(link))
        link = link.__context__
    return Failure(_name(error))


def _name(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}"


_NETWORK = frozenset(
    {"anyio", "asyncio", "builtins", "cio_middleware", "h11", "httpcore", "httpx", "socket", "socksio", "ssl"}
)
"""Whose exceptions a send by our own client may end in; the built-in ones are raised by all of these."""


def _foreign(error: BaseException, handled: BaseException | None) -> BaseException | None:
    """
    What must reach the application, since it was raised there; None when it was the network.

    A signal's handler raises wherever its thread happens to be: Celery's soft time limit inside our `recv`. Taken for
    a failure of the network, the limit would be gone. httpcore may have wrapped it, so what led to `error` counts as
    well, back to what the caller had `handled` already.
    """
    raised: BaseException | None = error
    while raised is not None and raised is not handled:
        if type(raised).__module__.partition(".")[0] not in _NETWORK:
            return raised
        raised = raised.__context__
    return None


def _released(error: BaseException, handled: BaseException | None) -> BaseException:
    """
    The application's own exception, out of its wrapping, with the frames emptied that it went through.

    Those of the HTTP library hold the headers while these are written, and who reports an exception with its locals
    would report the key.
    """
    link: BaseException | None = error
    while link is not None and link is not handled:
        traceback.clear_frames(link.__traceback__)
        link = link.__context__
    raised = _foreign(error, handled) or error
    if raised is not error:
        # It is about to be raised while `error` is handled; they must not name each other.
        error.__cause__, error.__context__ = None, handled
    return raised


_DEADLINE: ContextVar[float | None] = ContextVar("cio_middleware_deadline", default=None)


def time_left() -> float | None:
    """Seconds until the current call must be over; None outside of one."""
    deadline = _DEADLINE.get()
    return None if deadline is None else deadline - time.monotonic()


@contextmanager
def _sending(timeout: float) -> Iterator[float]:
    deadline = time.monotonic() + timeout
    token = _DEADLINE.set(deadline)
    try:
        yield deadline
    finally:
        _DEADLINE.reset(token)


class _Silence(logging.Filter):
    """Lets no line of an HTTP library through that one of our own calls caused."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - the signature of logging
        return _DEADLINE.get() is None


_SILENCE = _Silence()
_BELOW = ("connection", "http11", "http2", "proxy", "socks")
"""The loggers of httpcore. At DEBUG they print the headers of an answer, and a filter does not reach a child."""


def _silence(client: object) -> None:
    for kind in type(client).__mro__:
        if (package := kind.__module__.partition(".")[0]) in {"httpx", "httpx2"}:
            _silence_named(package)


def _silence_named(package: str) -> None:
    for name in (package, *(f"{package.replace('httpx', 'httpcore')}.{part}" for part in _BELOW)):
        logging.getLogger(name).addFilter(_SILENCE)
