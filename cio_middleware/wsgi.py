"""
Middleware for WSGI applications, such as those of Flask.

It puts one cell into a ContextVar while the application runs and while its body is iterated, and nothing else until an
event is captured.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from . import _extract, _telemetry
from ._automatic import Automatic, Served
from ._client import Client
from ._context import RequestCell, current, leave
from ._default import default_client, get_client
from ._person import check_resolver
from .exceptions import ConfigurationError
from .typing import PersonResolver

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_MARK = "cio_middleware.request"


class CustomerIOMiddleware:
    """
    Lets events captured anywhere in a request know the request and its person.

    Args:
        app: The application; for Flask, `app.wsgi_app`.
        client: Default: the process's client, made from the environment now, or what `configure` put in its place.
        person: Says who a request belongs to: a callable of one `RequestCell` that returns the workspace's id, an
            `Identity`, or None. Default: Flask-Login's `current_user`, if the application uses it.
        capture: What of the request to send: page, campaign, locale, user_agent, ip.
        query_keys: Keys of the query string to send.
        anonymous_id_cookie: The cookie that names the browser; None reads none.
        page_views: Capture a `page` for each page that somebody saw: a GET that was answered with HTML and 2xx, once,
            and neither for a bot nor for what is fetched in advance.
        request_events: Capture an event for each request: True names it `request_served`, a text as it says. It has the
            method, the status, the route as the application wrote it, and the duration in seconds.
        exclude: Paths that these two leave out, with `*` for anything: `["/health*", "/static/*"]`.

    Raises:
        ConfigurationError: missing credentials, an unknown name in `capture`, or a `person` that cannot be called
            or must be awaited.
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
        if inspect.iscoroutinefunction(person):
            message = "person= is asynchronous, and WSGI has nobody to await it. Pass a plain function."
            raise ConfigurationError(message)
        self.app = app
        self._client = client
        if client is None:
            get_client()  # raises now, not in the first request
        self._person = check_resolver(person)
        self._capture = _extract.check_capture(capture)
        self._query_keys = (query_keys,) if isinstance(query_keys, str) else tuple(query_keys)
        self._cookie = anonymous_id_cookie
        self._automatic = Automatic.of(page_views, request_events, exclude)
        self._pid = 0
        """The process that has had its first request."""

    def __call__(  # noqa: C901 - one request from its beginning to its end
        self, environ: Environ, start_response: StartResponse, *asgi: object
    ) -> Iterable[bytes]:
        """One request."""
        if asgi:
            message = "this is the middleware for WSGI. Starlette and other ASGI apps take cio_middleware.asgi's."
            raise TypeError(message)
        if _MARK in environ or (client := self._client or default_client()) is None:
            # Installed twice: the outer cell serves.
            if getattr(self.app, "wsgi_app", None) is self:
                message = "this app calls itself for ever: type app.wsgi_app = CustomerIOMiddleware(app.wsgi_app)."
                raise TypeError(message)
            return self.app(environ, start_response)
        if self._pid != (pid := os.getpid()):
            # Not when it is made: a server that forks afterwards would take over in the parent, which serves nobody.
            self._pid = pid
            client.begin()
        cell = RequestCell(
            client,
            environ,
            resolver=self._person,
            read_context=self._read_context,
            read_anonymous_id=self._read_anonymous_id,
        )
        # Not the cell itself: it holds the environ, and a circle would keep both until the garbage collector comes by.
        environ[_MARK] = True

        reporter = None if self._automatic is None else _Reporter(self._automatic, client, environ)

        def watch(*args: Any, **kwargs: Any) -> Any:
            # Here the framework's own context is still alive, so its user can be asked for.
            if reporter is not None:
                reporter.begun(*args, **kwargs)
            if cell.parked:
                client.parking.settle(cell)
            return start_response(*args, **kwargs)

        token = current.set(cell)
        try:
            body = self.app(environ, watch)
            if type(body) in {list, tuple} or _is_file(body, environ):
                client.parking.end(cell)
                return body
        except BaseException as error:
            if reporter is not None and isinstance(error, Exception):
                reporter.begun("500", ())  # as a server answers it
            client.parking.end(cell)
            raise
        finally:
            leave(token)
        return _SizedBody(body, cell, client) if hasattr(body, "__len__") else _Body(body, cell, client)

    def _read_context(self, environ: Mapping[str, Any]) -> bytes:
        context = _extract.wsgi_context(environ, self._capture, self._query_keys)
        if (trace_id := _telemetry.trace_id()) is not None:
            context["traceId"] = trace_id
        return _extract.encode(context)

    def _read_anonymous_id(self, environ: Mapping[str, Any]) -> str | None:
        return _extract.anonymous_id(_extract.wsgi_header(environ)("cookie"), self._cookie) if self._cookie else None


class _Reporter:
    """
    Captures what the middleware was asked to capture of one request, once: when its response begins.

    Not when it ends, because the framework's own context, and so the signed-in user, is gone by then.
    """

    def __init__(self, automatic: Automatic, client: Client, environ: Environ) -> None:
        self._automatic = automatic
        self._client = client
        self._environ = environ
        self._began = time.perf_counter()
        self._done = False

    def begun(self, status: str, headers: Iterable[tuple[str, str]], *_error: object, **_more: object) -> None:
        """As `start_response` is called; an application may call it again for an error."""
        if self._done:
            return
        self._done = True
        environ, code = self._environ, status[:3]
        page = _extract.wsgi_context(environ, ("page",), ())["page"]
        served = Served(
            method=str(environ.get("REQUEST_METHOD", "")),
            path=page["path"],
            url=page["url"],
            route=_extract.wsgi_route(environ),
            status=int(code) if code.isdecimal() else 500,
            content_type=next((value for name, value in headers if name.lower() == "content-type"), ""),
            duration=time.perf_counter() - self._began,
            header=lambda name: _extract.one_header(environ, name),
        )
        for kind, name, attributes in self._automatic.events(served):
            (self._client.page if kind == "page" else self._client.track)(name, attributes)


class _Body:
    """
    A response body whose every step runs with the request's cell.

    A class and no generator: a server may close a body that it never began to iterate, and a generator would not run
    its `finally` then (PEP 3333).
    """

    def __init__(self, inner: Iterable[bytes], cell: RequestCell, client: Client) -> None:
        self._inner = inner
        self._steps: Iterator[bytes] | None = None
        self._cell = cell
        self._client = client
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = current.set(self._cell)
        try:
            if self._steps is None:
                self._steps = iter(self._inner)
            return next(self._steps)
        except BaseException:
            # The end, or the end of it all.
            self._client.parking.end(self._cell)
            raise
        finally:
            leave(token)

    def close(self) -> None:
        """Close the application's body, once, and let go of what is parked."""
        if self._closed:
            return
        self._closed = True
        token = current.set(self._cell)
        try:
            if (close := getattr(self._inner, "close", None)) is not None:
                close()
        finally:
            self._client.parking.end(self._cell)
            leave(token)


class _SizedBody(_Body):
    """The same for a body that knows its length, from which a server may tell Content-Length."""

    def __len__(self) -> int:
        return len(self._inner)  # type: ignore[arg-type]


def _is_file(body: object, environ: Environ) -> bool:
    """Whether the server will send the file by itself, which it does only if it gets its own wrapper back."""
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return isinstance(body, wrapper)
    # uWSGI and mod_wsgi have a function there, which returns the file itself, or a type of theirs.
    return wrapper is not None and (hasattr(body, "read") or hasattr(body, "filelike"))
