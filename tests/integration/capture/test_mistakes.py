"""What people mix up, and what they are told."""

from __future__ import annotations

import asyncio
import functools
import logging

import pytest
from flask import Flask
from starlette.applications import Starlette
from werkzeug.local import LocalProxy

import cio_middleware as cio
from cio_middleware import asgi, wsgi


def test_the_asgi_middleware_in_a_wsgi_app_says_which_one_to_take(client):
    """Both have the same name: the wrong one names the right module at the first request."""
    wrapped = asgi.CustomerIOMiddleware(lambda *_: [], client=client)  # type: ignore[arg-type]  # that is the mistake
    with pytest.raises(TypeError, match=r"cio_middleware\.wsgi"):
        asyncio.run(wrapped({}, lambda *_: None))  # type: ignore[arg-type]


def test_the_asgi_middleware_around_a_flask_app_says_so_when_it_is_made():
    """A WSGI server awaits nothing, so the first request would be too late: it ends in `'coroutine' object`."""
    with pytest.raises(TypeError, match=r"cio_middleware\.wsgi"):
        asgi.CustomerIOMiddleware(Flask("shop").wsgi_app)  # type: ignore[arg-type]  # that is the mistake


@pytest.mark.parametrize("app", [min, Starlette(), functools.partial(Starlette())], ids=["unknown", "app", "partial"])
def test_whatever_else_can_be_called_is_taken(app):
    """An application whose arguments Python cannot tell, or that takes three, is nobody's mistake."""
    assert asgi.CustomerIOMiddleware(app).app is app


def test_a_flask_app_in_the_place_of_its_wsgi_app_is_told_what_to_type(client):
    """`app.wsgi_app = CustomerIOMiddleware(app)` calls itself for ever, and Python's own error would name no cause."""
    app = Flask("shop")
    app.wsgi_app = wsgi.CustomerIOMiddleware(app, client=client)  # type: ignore[method-assign]
    with pytest.raises(TypeError, match=r"app\.wsgi_app = CustomerIOMiddleware\(app\.wsgi_app\)"):
        app.test_client().get("/")


async def test_the_wsgi_middleware_in_an_asgi_app_says_which_one_to_take(client):
    """The other way round, too."""
    wrapped = wsgi.CustomerIOMiddleware(lambda *_: [], client=client)
    with pytest.raises(TypeError, match=r"cio_middleware\.asgi"):
        await wrapped({"type": "http"}, None, None)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("middleware", [asgi.CustomerIOMiddleware, wsgi.CustomerIOMiddleware], ids=["asgi", "wsgi"])
def test_a_person_that_takes_no_argument_is_told_what_it_is_given(middleware, client):
    """`person=lambda: current_user.id` would fail in each request; it is said once, when the middleware is made."""
    with pytest.raises(cio.ConfigurationError, match=r"person= .* is given one RequestCell: type lambda cell: \.\.\."):
        middleware(lambda *_: [], client=client, person=lambda: "ada")


@pytest.mark.parametrize("name", ["attributes", "person"])
def test_a_callable_of_a_decorator_that_takes_no_argument_is_told_what_it_is_given(client, name):
    """The same for `@track_event`, at the line that decorates."""
    with pytest.raises(cio.ConfigurationError, match=rf"{name}= .* is given one Call: type lambda call: \.\.\."):
        cio.track_event("step", client=client, **{name: lambda: None})(len)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "make",
    [lambda: LocalProxy(lambda: 1 / 0), lambda: max, lambda: lambda *_: "ada", lambda: lambda cell, of="": of],
    ids=["proxy", "built-in", "any", "more"],
)
def test_a_person_whose_arguments_cannot_be_told_or_fit_is_taken(make, client):
    """A proxy that fails outside of a request, a built-in function, and one that takes more are left alone."""
    asgi.CustomerIOMiddleware(Starlette(), client=client, person=make())


@pytest.mark.parametrize("failing", ["attributes", "person"])
def test_the_log_names_the_callable_that_failed(client, caplog, failing):
    """A failing `attributes=` and a failing `person=` are told apart."""

    @cio.track_event("step", client=client, **{failing: lambda call: 1 / 0})  # type: ignore[call-overload]
    def step() -> None:
        """Do nothing."""

    with caplog.at_level(logging.WARNING):
        step()
    assert f"{failing}= of event 'step' raised ZeroDivisionError" in caplog.text


def test_nobody_outside_of_a_request_is_told_about_the_middleware(client, caplog):
    """An event about nobody, where no request is known, is the sign of a missing middleware."""
    client.track("step")
    assert "install CustomerIOMiddleware" in caplog.text


def test_a_sandbox_that_is_not_there_is_named(caplog, eventually):
    """A connection that is refused on this machine names the address and asks about the sandbox."""
    settings = cio.Settings(site_id="s", api_key="k", base_url="http://127.0.0.1:9", flush_at=1, shutdown_timeout=0.0)
    with cio.Client(settings) as client:
        client.track("step", person="ada")
        eventually(lambda: "Is the sandbox running?" in caplog.text)
    assert "http://127.0.0.1:9 is not taking events" in caplog.text


async def test_a_shutdown_that_leaves_events_says_how_many(make_client, sandbox, caplog):
    """When the lifespan ends and nobody answers, the log says what was left: there may be no later moment."""
    sandbox.faults.script(["hang*"])
    client = make_client(shutdown_timeout=0.2, timeout=30.0)

    async def app(scope, receive, send):
        for reply in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{reply}.complete"})

    async def receive():
        return {"type": "lifespan"}

    async def send(message):
        del message

    client.track("step", person="ada")
    await asgi.CustomerIOMiddleware(app, client=client)({"type": "lifespan"}, receive, send)
    assert "1 event(s) were not delivered before the shutdown" in caplog.text


async def test_an_application_without_lifespan_is_flushed_all_the_same(client, sandbox):
    """An application that refuses the lifespan, as Django's does, is stood in for: its events arrive before the end."""

    async def app(scope, receive, send):
        raise ValueError(scope["type"])

    messages = iter(["lifespan.startup", "lifespan.shutdown"])
    sent = []

    async def receive():
        return {"type": next(messages)}

    async def send(message):
        sent.append(message["type"])

    client.track("step", person="ada")
    await asgi.CustomerIOMiddleware(app, client=client)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert sandbox.count("step") == 1


async def test_who_signs_in_later_does_not_get_what_came_before(client, sandbox):
    """Without `person=`, each event belongs to whoever the framework says is signed in at that moment."""

    class User:
        is_authenticated = True

        def __init__(self, name: str) -> None:
            self.id = name

    async def app(scope, receive, send):
        scope["user"] = User("stale")
        client.track("before")
        scope["user"] = User("fresh")
        client.track("after")

    scope = {"type": "http", "path": "/", "headers": []}
    await asgi.CustomerIOMiddleware(app, client=client)(scope, None, None)  # type: ignore[arg-type]
    assert await client.aflush(5)
    assert {event.name: event.person for event in sandbox.good} == {"before": "stale", "after": "fresh"}


async def test_a_decorated_coroutine_awaits_a_direct_delivery(make_client, sandbox):
    """On the direct backend the event of an async function is delivered when its call returns."""
    client = make_client(backend="direct")

    @cio.track_event("paid", client=client, person="ada")
    async def pay() -> None:
        """Do nothing."""

    await pay()
    assert sandbox.count("paid") == 1
    await client.aclose()
