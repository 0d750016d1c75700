"""
What the middleware adds to a request, measured from both of its sides.

One wrapper stands outside the middleware and one just inside. Each marks the moment when a request crosses it: on the
way in, on the way out, and at every `send` or `start_response`. The time between the two is the middleware's own; what
the server and the app do is not in it. A verb that a view calls is the app's time, so the verbs are measured apart.

A shop with a request every few milliseconds finds its caches cold, as a real one does, and shares the machine with
everybody else here. Back to back in a loop, the same code takes a fraction of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter_ns
from typing import Any

import cio_middleware as cio

KEY = "demo.meter"


class Meter:
    """The middleware's share of one request, in nanoseconds, and how many verbs its view called."""

    __slots__ = ("since", "spent", "verbs")

    def __init__(self) -> None:
        self.spent = 0
        self.verbs = 0
        self.since = perf_counter_ns()

    def enter(self) -> None:
        """The request crosses into the middleware, from either side."""
        self.since = perf_counter_ns()

    def leave(self) -> None:
        """The request leaves the middleware, to either side."""
        self.spent += perf_counter_ns() - self.since


class Notebook:
    """Nanoseconds per request and per verb, and the number of events by name."""

    def __init__(self) -> None:
        # Appending to a list is atomic; counting is not, and the shops run threads.
        self.idle: list[int] = []
        self.busy: list[int] = []
        self.verbs: dict[str, list[int]] = {"track": [], "page": [], "identify": []}
        self.captured: list[str] = []

    def note(self, meter: Meter) -> None:
        """A request is over."""
        (self.busy if meter.verbs else self.idle).append(meter.spent)

    def count(self, event: cio.Event) -> cio.Event:
        """A processor of the client: count the event, change nothing."""
        self.captured.append(event.name if event.kind == "event" else event.kind)
        return event


class TimedClient(cio.Client):
    """A client that notes how long each verb takes; to the app it is the client."""

    def __init__(self, notebook: Notebook, **options: Any) -> None:
        super().__init__(processors=[notebook.count], **options)
        self._notebook = notebook

    def track(self, *args: Any, **kwargs: Any) -> str | None:
        """`Client.track`, timed."""
        return self._timed("track", super().track, args, kwargs)

    def page(self, *args: Any, **kwargs: Any) -> str | None:
        """`Client.page`, timed."""
        return self._timed("page", super().page, args, kwargs)

    def identify(self, *args: Any, **kwargs: Any) -> str | None:
        """`Client.identify`, timed."""
        return self._timed("identify", super().identify, args, kwargs)

    def _timed(self, verb: str, call: Callable[..., str | None], args: Any, kwargs: Any) -> str | None:
        started = perf_counter_ns()
        event_id = call(*args, **kwargs)
        self._notebook.verbs[verb].append(perf_counter_ns() - started)
        if (cell := cio.current_request()) is not None:
            cell.source[KEY].verbs += 1
        return event_id


def outside_asgi(app: Any, notebook: Notebook) -> Any:
    """Stand outside the middleware of an ASGI app."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        meter = scope[KEY] = Meter()

        async def crossing(message: Any) -> None:
            meter.leave()
            await send(message)
            meter.enter()

        meter.enter()
        await app(scope, receive, crossing)
        meter.leave()
        notebook.note(meter)

    return outer


class InsideAsgi:
    """Stands just inside the middleware of an ASGI app."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request crosses, and comes back."""
        meter = scope.get(KEY)
        if meter is None:
            await self.app(scope, receive, send)
            return

        async def crossing(message: Any) -> None:
            meter.enter()
            await send(message)
            meter.leave()

        meter.leave()
        try:
            await self.app(scope, receive, crossing)
        finally:
            meter.enter()


def outside_wsgi(app: Any, notebook: Notebook) -> Any:
    """Stand outside the middleware of a WSGI app."""

    def outer(environ: Any, start_response: Any) -> Iterable[bytes]:
        meter = environ[KEY] = Meter()

        def crossing(*args: Any) -> Any:
            meter.leave()
            try:
                return start_response(*args)
            finally:
                meter.enter()

        meter.enter()
        body = app(environ, crossing)
        meter.leave()
        return _Body(body, meter.enter, meter.leave, lambda: notebook.note(meter))

    return outer


def inside_wsgi(app: Any) -> Any:
    """Stand just inside the middleware of a WSGI app."""

    def inner(environ: Any, start_response: Any) -> Iterable[bytes]:
        meter = environ[KEY]

        def crossing(*args: Any) -> Any:
            meter.enter()
            try:
                return start_response(*args)
            finally:
                meter.leave()

        meter.leave()
        try:
            return _Body(app(environ, crossing), meter.leave, meter.enter, lambda: None)
        finally:
            meter.enter()

    return inner


class _Body:
    """A response body; each step of it crosses the wrapper, there and back."""

    def __init__(
        self, body: Any, there: Callable[[], None], back: Callable[[], None], closed: Callable[[], None]
    ) -> None:
        self._body, self._there, self._back, self._closed = body, there, back, closed
        self._steps = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._there()
        try:
            chunk: bytes = next(self._steps)
        finally:
            self._back()
        return chunk

    def close(self) -> None:
        """The server has what it wanted."""
        self._there()
        if (close := getattr(self._body, "close", None)) is not None:
            close()
        self._back()
        self._closed()
