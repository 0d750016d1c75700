"""
Middleware for ASGI applications, such as those of Starlette and FastAPI.

It puts one cell into a ContextVar and nothing else until an event is captured. A plain ASGI class, because a
`BaseHTTPMiddleware` runs the application in another task, where a ContextVar does not come back.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from . import _extract, _telemetry
from ._automatic import Automatic, Served
from ._client import Client
from ._context import RequestCell, current, leave
from ._default import default_client, get_client
from ._notices import Notices
from ._person import check_resolver, takes
from .exceptions import ClosedError, ConfigurationError
from .typing import PersonResolver

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_MARK = "cio_middleware.request"

# The messages that may be the last of a response, and the key in each that says that more follows.
_LAST = {
    "http.response.body": "more_body",
    "http.response.zerocopysend": "more_body",
    "http.response.pathsend": "",
    "http.response.trailers": "more_trailers",
}


_FOR_ASGI = "this is the middleware for ASGI. Flask and other WSGI apps take cio_middleware.wsgi's."


async def _NOT_ASGI(message: Message) -> None:  # noqa: N802 - a mark: what a WSGI server does not pass
    del message


class CustomerIOMiddleware:
    """
    Lets events captured anywhere in a request know the request and its person.

    Args:
        app: The application.
        client: Default: the process's client, made from the environment when the application starts, or what
            `configure` put in its place.
        person: Says who a request belongs to: a sync or async callable of one `RequestCell` that returns the
            workspace's id, an `Identity`, or None. Default: the signed-in user in `scope["user"]`.
        capture: What of the request to send: page, campaign, locale, user_agent, ip.
        query_keys: Keys of the query string to send.
        anonymous_id_cookie: The cookie that names the browser; None reads none.
        page_views: Capture a `page` for each page that somebody saw: a GET that was answered with HTML and 2xx, once,
            and neither for a bot nor for what is fetched in advance.
        request_events: Capture an event for each request: True names it `request_served`, a text as it says. It has the
            method, the status, the route as the application wrote it, and the duration in seconds.
        exclude: Paths that these two leave out, with `*` for anything: `["/health*", "/static/*"]`.

    Raises:
        ConfigurationError: an unknown name in `capture`, or a `person` that cannot be called. Missing
            credentials fail the application's start-up (lifespan).
    """

    def __init__(  # noqa: PLR0913 - what an application may choose, by name
        self,
        app: App,
        *,
        client: Client | None = None,
        person: PersonResolver | None = None,
        capture: Iterable[str] = _extract.CAPTURE,
        query_keys: Iterable[str] = (),
        anonymous_id_cookie: str | None = "_cioanonid",
        page_views: bool = False,
        request_events: bool | str | None = None,
        exclude: Iterable[str] = (),
    ) -> None:
        # No server for WSGI would await the call that says it.
        if takes(app, 2) and not takes(app, 3):
            raise TypeError(_FOR_ASGI)
        self.app = app
        self._client = client
        self._person = check_resolver(person)
        self._capture = _extract.check_capture(capture)
        self._query_keys = (query_keys,) if isinstance(query_keys, str) else tuple(query_keys)
        self._cookie = anonymous_id_cookie
        self._automatic = Automatic.of(page_views, request_events, exclude)
        self._notices = Notices()

    async def __call__(self, scope: Scope, receive: Receive, send: Send = _NOT_ASGI) -> None:
        """One connection."""
        if send is _NOT_ASGI:
            raise TypeError(_FOR_ASGI)
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif (
            kind not in {"http", "websocket"} or _MARK in scope or (client := self._client or default_client()) is None
        ):
            # Installed twice or mounted in itself: the outer cell serves.
            await self.app(scope, receive, send)
        else:
            await self._request(client, scope, receive, send)

    async def _request(self, client: Client, scope: Scope, receive: Receive, send: Send) -> None:
        parks = scope["type"] == "http"
        cell = RequestCell(
            client,
            scope,
            resolver=self._person,
            read_context=self._read_context,
            read_anonymous_id=self._read_anonymous_id,
            parks=parks,
        )
        # Not the cell itself: it holds the scope, and a circle would keep both until the garbage collector comes by.
        scope[_MARK] = True
        token = current.set(cell)
        if parks:
            send = _watched(client, cell, send)
        reporter = None if self._automatic is None or not parks else _Reporter(self._automatic, client, scope, send)
        try:
            await self.app(scope, receive, send if reporter is None else reporter.watch)
        except GeneratorExit:
            # Python throws the request away: nothing can be awaited any more.
            client.parking.end(cell)
            raise
        except Exception:
            if reporter is not None:
                await reporter.end()
            raise
        finally:
            cell.parks = False
            try:
                if cell.parked or cell.answer is not None:
                    await client.parking.aend(cell)
            finally:
                leave(token)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        life = _Life(receive, send, begin=self._begin, flush=self._flush)
        try:
            await self.app(scope, life.listen, life.tell)
        except Exception:
            if life.problem is None and (life.answered or life.heard):
                raise  # the application's own start or end failed
        if life.problem is None and not life.answered:
            await life.stand_in()
        if life.problem is not None:
            await send({"type": "lifespan.startup.failed", "message": str(life.problem)})
            raise life.problem

    async def _flush(self) -> None:
        client = self._client or default_client()
        try:
            if client is None:
                return
            with client.shutdown.step() as left:
                delivered = await client.aflush(left)
            if not delivered:
                # A server may end the process without Python's exit handlers from here on: uvicorn does on SIGTERM.
                waiting = client.stats().pending
                self._notices.trouble("shutdown", "late", "%d event(s) were not delivered before the shutdown", waiting)
        except ClosedError:
            pass  # The application has done it already.

    def _begin(self) -> ConfigurationError | None:
        """Have a client; what is missing for one when there is none."""
        try:
            (self._client or get_client()).begin()
        except ConfigurationError as error:
            return error
        return None

    def _read_context(self, scope: Mapping[str, Any]) -> bytes:
        context = _extract.asgi_context(scope, self._capture, self._query_keys)
        if (trace_id := _telemetry.trace_id()) is not None:
            context["traceId"] = trace_id
        return _extract.encode(context)

    def _read_anonymous_id(self, scope: Mapping[str, Any]) -> str | None:
        return _extract.anonymous_id(_extract.asgi_header(scope)("cookie"), self._cookie) if self._cookie else None


class _Life:
    """
    An application's start and end, watched.

    Credentials that are missing fail its start, and its end waits until its events are delivered. An application that
    knows no lifespan, as Django does not, is stood in for: nobody would flush otherwise.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        begin: Callable[[], ConfigurationError | None],
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self._receive = receive
        self._send = send
        self._begin = begin
        self._flush = flush
        self.heard = False
        self.answered = False
        self.problem: ConfigurationError | None = None

    async def listen(self) -> Message:
        message = await self._receive()
        self.heard = True
        return message

    async def tell(self, message: Message) -> None:
        if self.problem is not None:
            return  # What the application reports now is our own error.
        if message["type"] == "lifespan.startup.complete":
            # Not earlier, so that an application may call `configure` when it starts. Raised, so that it cleans up.
            self.problem = self._begin()
            if self.problem is not None:
                raise self.problem
        elif message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
            await self._flush()
        self.answered = True
        await self._send(message)

    async def stand_in(self) -> None:
        self.problem = self._begin()
        if self.problem is not None:
            return
        if not self.heard:
            await self._receive()
        for ended in ("startup", "shutdown"):
            await self.tell({"type": f"lifespan.{ended}.complete"})
            if ended == "startup":
                await self._receive()


def _watched(client: Client, cell: RequestCell, send: Send) -> Send:
    """Settles what is parked when the last byte is out: who is known by then is who it was."""
    trailers = False

    async def watch(message: Message) -> None:
        nonlocal trailers
        await send(message)
        kind = message["type"]
        if kind == "http.response.start":
            trailers = bool(message.get("trailers"))
        elif cell.parked and _is_last(message, trailers=trailers):
            # Background tasks come after this.
            await client.parking.asettle(cell)

    return watch


class _Reporter:
    """Captures what the middleware was asked to capture of a request, once: when its last byte is out, or it failed."""

    def __init__(self, automatic: Automatic, client: Client, scope: Scope, send: Send) -> None:
        self._automatic = automatic
        self._client = client
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()
        self._status = 500  # what a server answers when the application raises
        self._content_type = ""
        self._trailers = self._done = False

    async def watch(self, message: Message) -> None:
        """Hand a message on."""
        await self._send(message)
        if message["type"] == "http.response.start":
            self._status, self._trailers = message.get("status", 500), bool(message.get("trailers"))
            named = (value for name, value in message.get("headers") or () if name.lower() == b"content-type")
            self._content_type = next(named, b"").decode("latin-1")
        elif _is_last(message, trailers=self._trailers):
            await self.end()

    async def end(self) -> None:
        """The response is out."""
        if self._done:
            return
        self._done = True
        scope = self._scope
        page = _extract.asgi_context(scope, ("page",), ())["page"]
        served = Served(
            method=str(scope.get("method", "")),
            path=page["path"],
            url=page["url"],
            route=_extract.asgi_route(scope),
            status=self._status,
            content_type=self._content_type,
            duration=time.perf_counter() - self._began,
            header=lambda name: _extract.one_header(scope, name),
        )
        for kind, name, attributes in self._automatic.events(served):
            await (self._client.apage if kind == "page" else self._client.atrack)(name, attributes)


def _is_last(message: Message, *, trailers: bool) -> bool:
    """Whether nothing of the response follows."""
    kind = message["type"]
    more = _LAST.get(kind)
    return more is not None and not message.get(more) and (not trailers or kind == "http.response.trailers")
