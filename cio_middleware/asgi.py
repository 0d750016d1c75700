"""
Middleware for ASGI applications: Starlette, FastAPI, Litestar, Quart, Django.

It puts one cell into a ContextVar and nothing else until an event is captured. A plain ASGI class, because a
`BaseHTTPMiddleware` runs the application in another task, where a ContextVar does not come back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from . import _extract
from ._client import Client
from ._context import RequestCell, current
from ._default import get_client
from ._notices import LOGGER, Notices
from .exceptions import ConfigurationError
from .typing import PersonResolver

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_MARK = "cio_middleware.request"


class CustomerIOMiddleware:
    """
    Lets events captured anywhere in a request know the request and its person.

    Args:
        app: The application.
        client: Default: the process's client, made from the environment when the application starts.
        person: Says who a request belongs to: a sync or async callable of one `RequestCell` that returns the
            workspace's id, an `Identity`, or None. Default: the signed-in user in `scope["user"]`.
        capture: What of the request to send: page, campaign, locale, user_agent, ip.
        query_keys: Keys of the query string to send.
        anonymous_id_cookie: The cookie that names the browser; None reads none.

    Raises:
        ConfigurationError: an unknown name in `capture`. Missing credentials fail the application's start-up
            (lifespan).
    """

    def __init__(
        self,
        app: App,
        *,
        client: Client | None = None,
        person: PersonResolver | None = None,
        capture: Iterable[str] = _extract.CAPTURE,
        query_keys: Iterable[str] = (),
        anonymous_id_cookie: str | None = "_cioanonid",
    ) -> None:
        self.app = app
        self._client = client
        self._person = person
        self._capture = _extract.check_capture(capture)
        self._query_keys = tuple(query_keys)
        self._cookie = anonymous_id_cookie
        self._notices = Notices()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif kind not in {"http", "websocket"} or _MARK in scope or (client := self._find_client()) is None:
            # Installed twice or mounted in itself: the outer cell serves.
            await self.app(scope, receive, send)
        else:
            await self._request(client, scope, receive, send)

    async def _request(self, client: Client, scope: Scope, receive: Receive, send: Send) -> None:
        cell = RequestCell(
            client,
            scope,
            resolver=self._person,
            read_context=self._read_context,
            read_anonymous_id=self._read_anonymous_id,
            parks=scope["type"] == "http",
        )
        scope[_MARK] = cell

        async def watch(message: Message) -> None:
            await send(message)
            # The last byte is out: whoever is known by now is who it was. Background tasks come after this.
            if cell.parked and message["type"] == "http.response.body" and not message.get("more_body"):
                await client.parking.asettle(cell)

        token = current.set(cell)
        try:
            await self.app(scope, receive, watch)
        finally:
            try:
                client.parking.end(cell)
                if cell.parked:
                    await client.parking.asettle(cell)
            finally:
                current.reset(token)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def starting() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                # Raising here would be taken for an application without lifespan, and the server would go on.
                get_client() if self._client is None else None
            return message

        async def stopping(message: Message) -> None:
            if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                client = self._find_client()
                if client is not None:
                    await client.aflush()
            await send(message)

        try:
            await self.app(scope, starting, stopping)
        except ConfigurationError as error:
            LOGGER.error("%s", error)
            await send({"type": "lifespan.startup.failed", "message": str(error)})

    def _find_client(self) -> Client | None:
        if self._client is None:
            try:
                self._client = get_client()
            except ConfigurationError as error:
                self._notices.trouble("client", "unconfigured", "requests are not captured: %s", error)
        return self._client

    def _read_context(self, scope: Mapping[str, Any]) -> bytes:
        return _extract.encode(_extract.asgi_context(scope, self._capture, self._query_keys))

    def _read_anonymous_id(self, scope: Mapping[str, Any]) -> str | None:
        return _extract.anonymous_id(_extract.asgi_header(scope)("cookie"), self._cookie) if self._cookie else None
