"""
What a request pays: for an event captured in it, and for a middleware that has nothing to do.

Bare and wrapped application alternate in blocks within one process, driven by hand: no server, no network.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import statistics
import sys
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from .players import NAME, Ours, attributes

_BLOCKS = 8
_HEADERS = [
    (b"host", b"shop.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml"),
    (b"accept-language", b"en-GB,en;q=0.7"),
    (b"referer", b"https://shop.example/cart"),
    (b"cookie", b"session=0123456789abcdef; _cioanonid=6f1c2b4e"),
]
_ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/orders/42",
    "QUERY_STRING": "utm_source=mail&utm_campaign=spring",
    "SERVER_NAME": "shop.example",
    "SERVER_PORT": "443",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.7",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "https",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    **{f"HTTP_{name.decode().upper().replace('-', '_')}": value.decode() for name, value in _HEADERS},
}


def in_request(player: str, url: str, events: int) -> dict[str, float]:
    """
    `track()` in a handler behind our ASGI middleware, whose person is known, against the same call outside.

    A request captures three events: its first encodes the context, the others find it encoded.
    """
    from cio_middleware.asgi import CustomerIOMiddleware

    del player
    client = Ours(url).client
    took: dict[str, list[int]] = {"first": [], "further": [], "bare": []}
    values = attributes(0)

    def timed(kind: str, person: str | None = None) -> None:
        start = perf_counter_ns()
        client.track(NAME, values, person=person)
        took[kind].append(perf_counter_ns() - start)

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        for kind in ("first", "further", "further"):
            timed(kind)
        await _respond(scope, receive, send)

    app = CustomerIOMiddleware(handler, client=client, person=lambda _: "user-1")
    for block in range(_BLOCKS + 1):
        for _ in range(events // _BLOCKS):
            timed("bare", person="user-1")
        asyncio.run(_asgi_requests(app, events // _BLOCKS))
        if block == 0:  # to warm up
            for kind in took.values():
                kind.clear()
        client.flush()
    return {kind: statistics.median(times) / 1000 for kind, times in took.items()}


def asgi(player: str, url: str, requests: int) -> dict[str, float]:
    """Microseconds that a middleware adds to a request of a Starlette application that captures nothing."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def order(request: Any) -> PlainTextResponse:
        del request
        return PlainTextResponse("ok")

    bare = Starlette(routes=[Route("/orders/{order}", order)])
    if player == "ours":
        from cio_middleware.asgi import CustomerIOMiddleware

        wrapped: Any = CustomerIOMiddleware(bare, client=Ours(url).client, person=lambda _: "user-1")
    else:
        theirs = importlib.import_module("posthog.integrations.asgi")
        wrapped = theirs.PosthogASGIMiddleware(bare, client=_posthog(url))
    return _added(
        lambda: asyncio.run(_asgi_requests(bare, requests // _BLOCKS)),
        lambda: asyncio.run(_asgi_requests(wrapped, requests // _BLOCKS)),
    )


def wsgi(player: str, url: str, requests: int) -> dict[str, float]:
    """The same for Flask."""
    from flask import Flask

    def shop() -> Flask:
        app = Flask("shop")
        app.add_url_rule("/orders/<order>", "order", lambda order: "ok" if order else "")
        return app

    bare, instrumented = shop(), shop()
    if player == "ours":
        from cio_middleware.wsgi import CustomerIOMiddleware

        middleware = CustomerIOMiddleware(instrumented.wsgi_app, client=Ours(url).client, person=lambda _: "user-1")
        instrumented.wsgi_app = middleware  # type: ignore[method-assign]
    else:
        theirs = importlib.import_module("posthog.integrations.flask")
        theirs.PosthogFlaskIntegration(instrumented, client=_posthog(url))
    return _added(
        lambda: _wsgi_requests(bare, requests // _BLOCKS), lambda: _wsgi_requests(instrumented, requests // _BLOCKS)
    )


def _posthog(url: str) -> Any:
    return importlib.import_module("posthog").Posthog("bench", host=url)


def _added(bare: Callable[[], list[int]], wrapped: Callable[[], list[int]]) -> dict[str, float]:
    """Alternate the two; the difference of their medians is what the middleware costs."""
    plain: list[int] = []
    dressed: list[int] = []
    bare(), wrapped()  # to warm up
    for _ in range(_BLOCKS):
        plain += bare()
        dressed += wrapped()
    without, with_it = statistics.median(plain) / 1000, statistics.median(dressed) / 1000
    return {"bare": without, "wrapped": with_it, "added": with_it - without}


async def _asgi_requests(app: Any, count: int) -> list[int]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    took = []
    for _ in range(count):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https",
            "path": "/orders/42",
            "raw_path": b"/orders/42",
            "query_string": b"utm_source=mail&utm_campaign=spring",
            "root_path": "",
            "headers": list(_HEADERS),
            "client": ("192.0.2.7", 40000),
            "server": ("shop.example", 443),
        }
        start = perf_counter_ns()
        await app(scope, receive, send)
        took.append(perf_counter_ns() - start)
    return took


async def _respond(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def _wsgi_requests(app: Any, count: int) -> list[int]:
    def start_response(*args: Any) -> Any:
        return args

    took = []
    for _ in range(count):
        environ = {**_ENVIRON, "wsgi.input": io.BytesIO()}
        start = perf_counter_ns()
        body = app(environ, start_response)
        b"".join(body)
        if (close := getattr(body, "close", None)) is not None:
            close()
        took.append(perf_counter_ns() - start)
    return took
