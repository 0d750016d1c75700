"""Events that a middleware captures by itself: the same under Starlette, FastAPI and Flask."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from flask_login import LoginManager, UserMixin, login_user
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from cio_middleware import asgi, wsgi
from cio_middleware._automatic import Automatic, Served, is_bot, is_page_view
from cio_middleware.exceptions import ConfigurationError

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
DOCUMENT = {"user-agent": BROWSER, "sec-fetch-dest": "document"}


async def _html(request):
    return HTMLResponse("<h1>a page</h1>")


async def _json(request):
    return JSONResponse({})


async def _fails(request):
    raise LookupError


def starlette(client, **options):
    """A shop on Starlette; returns what a browser does with it."""
    inner = [Route("/{id:int}", _html), Route("/{id:int}/invoice", _json)]
    routes = [
        Route("/", _html), Route("/api", _json), Route("/gone", lambda request: RedirectResponse("/")),
        Route("/fails", _fails), Route("/form", _html, methods=["GET", "POST"]), Mount("/orders", routes=inner),
    ]  # fmt: skip
    app = Starlette(routes=routes)
    app.add_middleware(asgi.CustomerIOMiddleware, client=client, **options)
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def fastapi(client, **options):
    """The same on FastAPI."""
    app = FastAPI()
    for path, endpoint in {"/": _html, "/api": _json, "/fails": _fails, "/orders/{id}": _html}.items():
        app.add_api_route(path, _bare(endpoint))
    app.add_api_route("/orders/{id}/invoice", _bare(_json))
    app.add_api_route("/gone", lambda: RedirectResponse("/"))
    app.add_api_route("/form", _bare(_html), methods=["GET", "POST"])
    app.add_middleware(asgi.CustomerIOMiddleware, client=client, **options)
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def _bare(endpoint):
    async def call():
        return await endpoint(None)

    return call


class _Flask:
    """What a browser does with an app on Flask, as the two others answer it."""

    def __init__(self, app):
        self._browser = app.test_client()

    def request(self, method, path, headers=None):
        try:
            return self._browser.open(path, method=method, headers=headers)
        except LookupError:
            return None

    def get(self, path, headers=None):
        return self.request("GET", path, headers)


def flask(client, **options):
    """The same on Flask."""
    app = Flask("shop")

    @app.route("/")
    @app.route("/orders/<int:number>")
    @app.route("/form", methods=["GET", "POST"])
    def page(number=None):
        return "<h1>a page</h1>"

    @app.route("/api")
    @app.route("/orders/<int:number>/invoice")
    def data(number=None):
        return {}

    @app.route("/gone")
    def gone():
        return "", 302, {"location": "/"}

    @app.route("/fails")
    def fails():
        raise LookupError

    app.wsgi_app = wsgi.CustomerIOMiddleware(app.wsgi_app, client=client, **options)  # type: ignore[method-assign]
    return _Flask(app)


shops = pytest.mark.parametrize("shop", [starlette, fastapi, flask])


@shops
@pytest.mark.parametrize(("method", "path", "headers", "seen"), [
    ("GET", "/", {}, True),
    ("GET", "/orders/7?secret=1", {}, True),
    ("GET", "/", {"sec-fetch-dest": ""}, True),
    ("HEAD", "/", {}, False),
    ("POST", "/form", {}, False),
    ("GET", "/api", {}, False),
    ("GET", "/gone", {}, False),
    ("GET", "/nowhere", {}, False),
    ("GET", "/fails", {}, False),
    ("GET", "/", {"sec-fetch-dest": "iframe"}, False),
    ("GET", "/", {"sec-fetch-dest": "empty"}, False),
    ("GET", "/", {"sec-purpose": "prefetch;prerender"}, False),
    ("GET", "/", {"purpose": "prefetch"}, False),
    ("GET", "/", {"x-requested-with": "XMLHttpRequest"}, False),
    ("GET", "/", {"hx-request": "true"}, False),
    ("GET", "/", {"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}, False),
    ("GET", "/", {"user-agent": ""}, False),
])  # fmt: skip
def test_a_page_that_somebody_saw_is_one_event(make_client, sandbox, shop, method, path, headers, seen):
    """A GET of a browser's window that was answered with HTML and 2xx; its name is the URL, without the query."""
    client = make_client()
    shop(client, page_views=True, person=lambda cell: "ada").request(method, path, headers={**DOCUMENT, **headers})
    client.flush()
    rows = sandbox.events(kind="page")
    assert len(rows) == seen
    if seen:
        assert rows[0].name.endswith(path.partition("?")[0])
        assert rows[0].person == "ada"
        assert rows[0].data["context"]["page"]["path"] == path.partition("?")[0]
    assert client.stats().captured == seen


@shops
def test_each_request_is_one_event(make_client, sandbox, shop):
    """With its method, its status, its route as the application wrote it, and its duration; an exception is a 500."""
    client = make_client()
    browser = shop(client, request_events=True, person=lambda cell: "ada")
    for request in ("GET /", "POST /form", "GET /orders/7/invoice", "GET /nowhere", "GET /fails"):
        browser.request(*request.split())
    client.flush()
    rows = sorted(sandbox.events(name="request_served"), key=lambda row: row.seq)
    said = [(row.data["method"], row.data["status"], row.data.get("route")) for row in rows]
    invoice = "/orders/<int:number>/invoice" if shop is flask else "/orders/{id}/invoice"
    assert said == [
        ("GET", 200, "/"), ("POST", 200, "/form"), ("GET", 200, invoice), ("GET", 404, None), ("GET", 500, "/fails"),
    ]  # fmt: skip
    assert all(0 < row.data["duration"] < 60 for row in rows)


@shops
def test_paths_are_left_out_and_the_event_has_the_name_it_was_given(make_client, sandbox, shop):
    """`exclude` takes globs, for both kinds of event."""
    client = make_client()
    browser = shop(
        client,
        page_views=True,
        request_events="shop_request",
        exclude=["/api*", "/orders/*"],
        person=lambda cell: "ada",
    )
    for path in ("/", "/api", "/orders/7"):
        browser.get(path, headers=DOCUMENT)
    client.flush()
    assert sorted(row.kind for row in sandbox.events()) == ["event", "page"]
    assert sandbox.count("shop_request") == 1


def test_nothing_is_captured_that_nobody_asked_for(make_client, sandbox):
    """By default a middleware captures no event of its own."""
    client = make_client()
    starlette(client, person=lambda cell: "ada").get("/", headers=DOCUMENT)
    client.flush()
    assert client.stats().captured == 0


def test_a_visitor_is_seen_under_the_id_of_their_browser(make_client, sandbox):
    """And somebody whom nobody knows at all is counted as that."""
    client = make_client()
    shop = starlette(client, page_views=True)
    shop.get("/", headers={**DOCUMENT, "cookie": "_cioanonid=b7"})
    shop.get("/", headers=DOCUMENT)
    client.flush()
    assert [row.person for row in sandbox.events(kind="page")] == ["b7"]
    assert client.stats().dropped == {"no_identity": 1}


class _Backend(AuthenticationBackend):
    async def authenticate(self, conn):
        return AuthCredentials(), SimpleUser("ada")


def test_who_is_signed_in_is_the_person_on_starlette(make_client, sandbox):
    """As for any other event."""
    client = make_client()
    app = Starlette(routes=[Route("/", _html)])
    app.add_middleware(AuthenticationMiddleware, backend=_Backend())
    app.add_middleware(asgi.CustomerIOMiddleware, client=client, page_views=True)
    TestClient(app).get("/", headers=DOCUMENT)
    client.flush()
    assert [row.person for row in sandbox.events(kind="page")] == ["ada"]


def test_who_signs_in_during_the_request_is_the_person_on_flask(make_client, sandbox):
    """While the response begins, Flask's own context is alive."""
    client = make_client()
    app = Flask("shop")
    app.secret_key = "made up"
    LoginManager(app).user_loader(lambda user_id: None)

    @app.get("/sign-in")
    def sign_in():
        user = UserMixin()
        user.id = "ada"
        login_user(user)
        return "<h1>welcome</h1>"

    app.wsgi_app = wsgi.CustomerIOMiddleware(app.wsgi_app, client=client, page_views=True)  # type: ignore[method-assign]
    app.test_client().get("/sign-in", headers=DOCUMENT)
    client.flush()
    assert [row.person for row in sandbox.events(kind="page")] == ["ada"]


@pytest.mark.parametrize(("options", "says"), [
    ({"page_views": "yes"}, "page_views=True"), ({"request_events": 7}, "request_events"),
    ({"request_events": " "}, "blank"), ({"page_views": True, "exclude": ["health"]}, "Type paths"),
    ({"exclude": [7]}, "Type paths"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_when_the_app_is_made(options, says):
    """Both middlewares say what to type."""
    middlewares: tuple[Any, ...] = (asgi.CustomerIOMiddleware, wsgi.CustomerIOMiddleware)
    for kind in middlewares:
        with pytest.raises(ConfigurationError, match=says):
            kind(_html, client=object(), **options)


@pytest.mark.parametrize("agent", [
    "curl/8.5.0", "python-requests/2.32", "Wget/1.21", "Go-http-client/2.0", "okhttp/4.12", "bingbot/2.0",
    "AhrefsBot/7.0",     "facebookexternalhit/1.1 (+preview)",
    "Mozilla/5.0 HeadlessChrome/120", "UptimeMonitor/1", "axios/1.7", "node",
])  # fmt: skip
def test_well_known_programs_are_bots(agent):
    """By what they say about themselves."""
    assert is_bot(agent)


@pytest.mark.parametrize("agent", [
    BROWSER,
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/131.0.0.0 Mobile Safari/537.36",
    "Opera/9.80 (Windows NT 6.1) Presto/2.12 Version/12.18",
    "Mozilla/5.0 (X11; Linux x86_64) Chrome/131 Safari/537.36 CUBOT_X30",
], ids=lambda agent: agent[-20:])  # fmt: skip
def test_browsers_are_none(agent):
    """Among them a telephone whose maker is called Cubot."""
    assert not is_bot(agent)


AUTOMATIC = Automatic.of(True, True, ["/a*b*c*d*e*f*g*h", "*/x"])


@given(st.text(max_size=3000), st.text(max_size=3000), st.text(max_size=50), st.integers())
def test_nothing_that_a_stranger_sends_raises_or_grows(path, agent, content_type, status):
    """Names are cut to what Customer.io takes, whatever the path is."""
    served = Served("GET", path, "http://shop.test" + path, None, status, content_type, 0.1, lambda name: agent)
    assert AUTOMATIC is not None
    for kind, name, _ in AUTOMATIC.events(served):
        assert kind == "event" or len(name.encode()) <= 500
    is_page_view(served)


def test_a_hostile_path_takes_no_time():
    """A glob with many stars, against what would make a regular expression try every way."""
    assert AUTOMATIC is not None
    began = time.process_time()
    served = Served(
        "GET", "/" + "abcdefg" * 100_000, "http://shop.test/", None, 200, "text/html", 0.1, lambda name: "x" * 10**6
    )
    for _ in range(20):
        AUTOMATIC.events(served)
        is_bot("bo" * 10**6)
    assert time.process_time() - began < 5  # of a loop that would take years
