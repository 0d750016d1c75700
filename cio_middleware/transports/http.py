"""
HTTP by httpx or httpx2: one pool of connections, made at the first send and anew after a fork.

Three things are added to what the library does: a deadline over the whole call, which a server that drips one byte a
second cannot stretch; a cap on what is read of an answer; and silence, because the library logs every URL at INFO and
a URL of the Track API may hold a person's id.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first connection imports it in our thread, which a fork may cut off
import logging
import platform
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from .._fork import WATCH
from .._semconv import VERSION
from .._settings import is_loopback
from ..exceptions import ConfigurationError
from ..typing import Answer, Failure, Request, Response

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
_KEPT = ("retry-after", "location", "date")

Credentials = Callable[[], tuple[str, str]]
"""Returns site id and API key; asked at each request, so that a rotated key is used at once."""


class HTTPClient(Protocol):
    """What is needed of `httpx.Client` or `httpx2.Client`; a Protocol, so that neither must be imported to type it."""

    def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        auth: tuple[str, str],
        timeout: float,
        follow_redirects: bool,
    ) -> Any:
        """A context manager that sends the request and yields the response, unread."""
        ...


class HttpTransport:
    """The `Transport` of threads."""

    def __init__(self, credentials: Credentials, client: HTTPClient | None = None) -> None:
        self._credentials = credentials
        self._given = client
        self._made: httpx.Client | None = None
        self._inherited: list[httpx.Client] = []
        self._lock = threading.Lock()
        if client is None:
            # Now, and not at the first send, so that the first event is as quick as the others.
            with WATCH.one_at_a_time():
                from . import _deadline  # noqa: F401

            _silence_named("httpx")
        _silence(client)

    def after_fork(self) -> None:
        """Let go of the parent's connections without closing them, which would wait for a lock that nobody frees."""
        if self._made is not None:
            self._inherited.append(self._made)
        self._made = None
        self._lock = threading.Lock()

    def send(self, base_url: str, request: Request, timeout: float) -> Answer:
        """One POST. A client that was given bounds each read by `timeout`; our own bounds the whole call."""
        try:
            with _sending(timeout) as deadline:
                return self._post(base_url + request.path, request.body, timeout, deadline)
        except ConfigurationError:
            return Failure("cio_middleware.exceptions.ConfigurationError")
        except Exception as error:  # noqa: BLE001 - whatever a network or a foreign client does is an answer here
            return Failure(_name(error))

    def _post(self, url: str, body: bytes, timeout: float, deadline: float) -> Response:
        arguments = _arguments(self._credentials, body, timeout)
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

    def _client(self) -> HTTPClient:
        if self._given is not None:
            return self._given
        with self._lock:
            if self._made is None:
                import httpx

                from ._deadline import DeadlineTransport

                self._made = httpx.Client(transport=DeadlineTransport(time_left))
            return self._made

    def close(self) -> None:
        """Close the connections that were made here; a client that was given is its owner's."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.close()


class AsyncHttpTransport:
    """
    The `AsyncTransport` of asyncio: one pool per event loop, since connections belong to the loop that opened them.
    """

    def __init__(self, credentials: Credentials, client: HTTPClient | None = None) -> None:
        self._credentials = credentials
        self._given = client
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )
        _silence(client)

    def after_fork(self) -> None:
        """Let go of the parent's connections without closing them."""
        self._made = weakref.WeakKeyDictionary()

    async def send(self, base_url: str, request: Request, timeout: float) -> Answer:  # noqa: ASYNC109 - the contract
        """One POST, bounded as a whole."""
        import asyncio

        try:
            with _sending(timeout):
                async with asyncio.timeout(timeout):
                    return await self._post(base_url + request.path, request.body, timeout)
        except ConfigurationError:
            return Failure("cio_middleware.exceptions.ConfigurationError")
        except Exception as error:  # noqa: BLE001 - as above
            return Failure(_name(error))

    async def _post(self, url: str, body: bytes, timeout: float) -> Response:  # noqa: ASYNC109 - handed on
        arguments = _arguments(self._credentials, body, timeout)
        async with self._client(url).stream("POST", url, **arguments) as response:
            if response.is_stream_consumed:  # as above
                return _response(response.status_code, response.headers, response.content)
            read = bytearray()
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) >= MAX_ANSWER_BYTES:
                    break
            return _response(response.status_code, response.headers, read)

    def _client(self, url: str) -> Any:
        if self._given is not None:
            return self._given
        import asyncio

        loop = asyncio.get_running_loop()
        if (made := self._made.get(loop)) is None:
            import httpx

            _silence_named("httpx")
            # A proxy of the environment must not come between us and a sandbox on this machine.
            local = is_loopback(urlsplit(url).hostname or "")
            made = self._made[loop] = httpx.AsyncClient(trust_env=not local)
        return made

    async def close(self) -> None:
        """Close this loop's connections."""
        import asyncio

        made = self._made.pop(asyncio.get_running_loop(), None)
        if made is not None:
            await made.aclose()


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


def _arguments(credentials: Credentials, body: bytes, timeout: float) -> dict[str, Any]:
    return {"content": body, "headers": _HEADERS, "auth": credentials(), "timeout": timeout, "follow_redirects": False}


def _response(status: int, headers: Mapping[str, str], body: bytes | bytearray) -> Response:
    kept = {name: headers[name] for name in _KEPT if name in headers}
    return Response(status, kept, bytes(body[:MAX_ANSWER_BYTES]), time.time())


def _name(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}"


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


def _silence(client: object) -> None:
    for kind in type(client).__mro__:
        if (package := kind.__module__.partition(".")[0]) in {"httpx", "httpx2"}:
            _silence_named(package)


def _silence_named(package: str) -> None:
    logging.getLogger(package).addFilter(_SILENCE)
