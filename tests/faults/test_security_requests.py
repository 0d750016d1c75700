"""What a stranger may put into a request or a value, and what becomes of it (S4 to S7, S25)."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

import cio_middleware as cio
from cio_middleware import asgi, wsgi

CANARY = "c4n4ry"
PEER = "198.51.100.7"
HOSTILE = f"{CANARY}\r\nFORGED \x1b[2J\u202e\u2028\x00"
STEERS = re.compile(r"[\r\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]|^FORGED", flags=re.MULTILINE)

# ------------------------------------------------------------------------------------------------ requests of strangers


class Site:
    """One application, called by ASGI and by WSGI without a server, and the events that its endpoint captured."""

    def __init__(self, client_settings: dict[str, Any]) -> None:
        self.events: list[cio.Event] = []
        self.client = cio.Client(cio.Settings(**client_settings), processors=[self._see])
        self.endpoint: Callable[[], object] = lambda: self.client.track("step")
        self.read = 0

    def _see(self, event: cio.Event) -> cio.Event:
        self.events.append(event)
        return event

    def get(
        self, kind: str, headers: dict[str, str], *, query: str = "", user: Any = None, **options: Any
    ) -> cio.Event:
        """Make one request, in whose endpoint an event is captured; returns that."""
        call = self._asgi if kind == "asgi" else self._wsgi
        call({name.lower(): value for name, value in headers.items()}, query, user, options)
        return self.events[-1]

    def _asgi(self, headers: dict[str, str], query: str, user: Any, options: dict[str, Any]) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.endpoint()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def receive() -> dict[str, Any]:
            self.read += 1
            return {"type": "http.request", "body": CANARY.encode(), "more_body": False}

        async def send(_: Any) -> None: ...

        scope = {
            "type": "http", "method": "POST", "scheme": "https", "path": "/cart", "client": (PEER, 1234),
            "query_string": query.encode(),
            "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
            **({"user": user} if user is not None else {}),
        }  # fmt: skip
        asyncio.run(asgi.CustomerIOMiddleware(app, client=self.client, **options)(scope, receive, send))

    def _wsgi(self, headers: dict[str, str], query: str, user: Any, options: dict[str, Any]) -> None:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            self.endpoint()
            start_response("200 OK", [])
            return [b""]

        if user is not None:
            options["person"] = lambda _: user.identity
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST", "PATH_INFO": "/cart", "QUERY_STRING": query, "REMOTE_ADDR": PEER,
            "wsgi.url_scheme": "https", "wsgi.input": io.BytesIO(CANARY.encode()),
        }  # fmt: skip
        setup_testing_defaults(environ)
        environ.update({f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()})
        list(wsgi.CustomerIOMiddleware(app, client=self.client, **options)(environ, lambda *_: lambda _: None))
        self.read += environ["wsgi.input"].tell()


@pytest.fixture(name="site")
def _site(sandbox) -> Iterator[Site]:
    """A site whose events go to the sandbox."""
    site = Site({**sandbox.settings, "anonymous_via": "v2"})  # batched: they are many
    yield site
    site.client.close()


SECRETS = {
    "Host": "shop.example",
    "Authorization": f"Bearer {CANARY}",
    "Proxy-Authorization": f"Basic {CANARY}",
    "Cookie": f"session={CANARY}; _cioanonid=browser-1; other={CANARY}",
    "Set-Cookie": CANARY,
    "X-Api-Key": CANARY,
    "X-Forwarded-For": CANARY,
    "Referer": f"https://user:{CANARY}@search.example/results?q={CANARY}#{CANARY}",
    "User-Agent": "Mozilla/5.0",
    "Accept-Language": f"en-GB, {CANARY};q=0.5",
}
QUERY = f"token={CANARY}&utm_source=mail&email={CANARY}@example.com&{CANARY}={CANARY}"
GOLDEN = {
    "page": {"path": "/cart", "url": "https://shop.example/cart", "referrer": "https://search.example/results"},
    "campaign": {"source": "mail"},
    "locale": "en-GB",
    "userAgent": "Mozilla/5.0",
    "library": {"name": "cio_middleware", "version": cio.__version__},
}


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_s04_of_a_request_only_the_allowed_leaves(site, sandbox, kind):
    """A request with a secret in every place sends exactly the context of the documentation."""
    event = site.get(kind, SECRETS, query=QUERY)
    assert event.attributes["context"] == GOLDEN
    assert site.client.flush(5)
    assert CANARY not in repr(event.attributes)
    assert CANARY not in json.dumps([stored.data for stored in sandbox.good])


@pytest.mark.parametrize("middleware", [asgi.CustomerIOMiddleware, wsgi.CustomerIOMiddleware], ids=["asgi", "wsgi"])
@pytest.mark.parametrize("name", ["*", "headers", "cookie", "authorization", "body", "query"])
def test_s04_no_wildcard_opens_what_is_closed(site, middleware, name):
    """`capture` takes names of a short list; a pattern, or a header that holds secrets, is refused."""
    with pytest.raises(cio.ConfigurationError, match="type some of page, campaign"):
        middleware(lambda *_: None, client=site.client, capture=[name])


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP"])
def test_s05_no_header_says_where_a_request_came_from(site, kind, header):
    """The address is the connection's own, and sent only where it was asked for: no header is believed."""
    for claim in ("203.0.113.9", "for=203.0.113.9", "203.0.113.9:80, 127.0.0.1", "[2001:db8::1%eth0]:1"):
        headers = {header: claim, "Cookie": "_cioanonid=browser-1"}
        assert site.get(kind, headers, capture=["ip"]).attributes["context"]["ip"] == PEER
        assert "ip" not in site.get(kind, headers).attributes["context"]


CLAIMS = {
    "X-User-Id": CANARY, "X-Remote-User": CANARY, "Remote-User": CANARY, "X-Forwarded-User": CANARY, "From": CANARY,
    "Authorization": f"Bearer {CANARY}", "X-Customer-Io-Id": CANARY, "Person": CANARY,
    "Cookie": f"user={CANARY}; user_id={CANARY}; _cioid={CANARY}; id={CANARY}; _cioanonid=browser-1",
}  # fmt: skip


class User:
    """A signed-in user, as Starlette's authentication has one."""

    is_authenticated = True
    identity = "ada"


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_s06_nothing_that_a_client_sends_names_a_person(site, kind):
    """Headers, cookies, the query and the body name nobody, and do not replace who is signed in."""
    query = f"person={CANARY}&user_id={CANARY}&id={CANARY}"
    stranger = site.get(kind, CLAIMS, query=query)
    assert (stranger.identity, stranger.anonymous_id) == (None, "browser-1")
    signed_in = site.get(kind, CLAIMS, query=query, user=User())
    assert signed_in.identity == cio.Identity(id="ada")
    assert CANARY not in repr(signed_in.attributes)


@pytest.mark.parametrize("cookie", [CANARY + "\x00", "a b", "<script>", "x" * 151, "a,b", "%0d%0a", "é"])
def test_s06_a_cookie_that_is_no_id_names_no_browser(site, cookie):
    """The one cookie that is read holds an id of plain characters, or nothing."""
    before = len(site.events)
    with pytest.raises(IndexError):
        site.get("asgi", {"Cookie": f"_cioanonid={cookie}"})
    assert len(site.events) == before
    assert site.client.stats().dropped == {cio.DropReason.NO_IDENTITY: 1}


# ------------------------------------------------------------------------------------------------------ forged lines


def raises(*_: Any) -> Any:
    """A callable of the application that fails."""
    raise LookupError(HOSTILE)


LOGGED: dict[str, Callable[[cio.Client], object]] = {
    "event": lambda client: client.track(HOSTILE * 9, person="ada"),
    "decorated": lambda client: cio.track_event(HOSTILE, attributes=raises, client=client)(lambda: None)(),
    "attribute": lambda client: client.identify("ada", {HOSTILE: "x" * 2000}),
    "event-id": lambda client: client.track("step", person="ada", event_id=HOSTILE),
    "timestamp": lambda client: client.track("step", person="ada", timestamp=HOSTILE),  # type: ignore[arg-type]  # wrong
    "person": lambda client: client.track("step", person=HOSTILE * 99),
    "anonymous": lambda client: client.track("step", anonymous_id=HOSTILE * 99),
}


@pytest.mark.parametrize("say", LOGGED.values(), ids=LOGGED)
def test_s07_no_value_forges_a_line_of_the_log(sandbox, caplog, say):
    """Whatever is wrong with a value, its line breaks and control sequences reach no line; server texts: S2."""
    with cio.Client(cio.Settings(**sandbox.settings)) as client:
        say(client)
    assert caplog.records
    assert not [record for record in caplog.records if STEERS.search(record.getMessage())]


NAMED: dict[str, Callable[[], object]] = {
    "argument": lambda: cio.Settings.from_env({}, **{HOSTILE: 1}),
    "value": lambda: cio.Settings.from_env({"CUSTOMERIO_RETRIES": HOSTILE}),
    "base_url": lambda: cio.Settings(site_id="site", api_key="key", base_url=f"https://host/{HOSTILE}").check(),
    "base_url-password": lambda: cio.Settings(
        site_id="site", api_key="key", base_url=f"https://{HOSTILE}@host"
    ).check(),
    "region": lambda: cio.Settings(site_id="site", api_key="key", region=HOSTILE).check(),  # type: ignore[arg-type]  # wrong
    "site": lambda: cio.Settings(site_id=HOSTILE, api_key="key").check(),
    "backend": lambda: cio.Client(cio.Settings(site_id="site", api_key="key", backend=HOSTILE)),
    "backend-import": lambda: cio.Client(cio.Settings(site_id="site", api_key="key", backend=f"{HOSTILE}:x")),
    "key-file": lambda: cio.Settings(site_id="site", api_key=Path(f"/{HOSTILE}")).check(),
    "capture": lambda: asgi.CustomerIOMiddleware(raises, capture=[HOSTILE]),
    "when": lambda: cio.track_event("step", when=HOSTILE)(raises),  # type: ignore[call-overload]  # that is the mistake
}


@pytest.mark.parametrize("name", NAMED.values(), ids=NAMED)
def test_s07_no_setting_forges_a_line_of_an_error(name):
    """A setting is quoted with its control characters escaped: the error is logged where events are not captured."""
    with pytest.raises(cio.ConfigurationError) as caught:
        name()
    assert not STEERS.search(str(caught.value))


def test_s07_no_variable_of_the_environment_forges_a_line():
    """The name of a variable that is no setting is quoted in the warning, escaped."""
    with pytest.warns(UserWarning, match="is not a setting") as caught:
        cio.Settings.from_env({f"CUSTOMERIO_{HOSTILE}": "1"})
    assert not [warning for warning in caught if STEERS.search(str(warning.message))]


# -------------------------------------------------------------------------------------------------------- exhaustion


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_s25_no_body_is_read(site, kind):
    """The application's input is its own: a request in which events are captured leaves it untouched."""
    site.get(kind, {"Cookie": "_cioanonid=browser-1", "Content-Length": "1000000000"})
    assert site.read == 0


LONG = 300_000
BURDENS: dict[str, tuple[dict[str, str], str]] = {
    "cookies": ({"Cookie": "a=b; " * LONG + "_cioanonid=browser-1"}, ""),
    "cookie-spaces": ({"Cookie": "_cioanonid=" + " " * LONG + "x; _cioanonid=browser-1"}, ""),
    "query-fields": ({}, "&".join(["utm_source=x"] * LONG)),
    "query-escapes": ({}, "utm_source=" + "%" * LONG),
    "languages": ({"Accept-Language": "en-" * LONG}, ""),
    "host": ({"Host": "a." * LONG + "!"}, ""),
    "referer": ({"Referer": "https://" + "@" * LONG + "/" * LONG}, ""),
    "agent": ({"User-Agent": "\x1b" * LONG}, ""),
}


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
@pytest.mark.parametrize(("headers", "query"), BURDENS.values(), ids=BURDENS)
def test_s25_no_request_costs_more_than_its_length(site, kind, headers, query):
    """A header or a query of hundreds of kilobytes, made to upset a pattern, is read in time and sent cut short."""
    started = time.thread_time()
    event = site.get(kind, {"Cookie": "_cioanonid=browser-1", **headers}, query=query)
    assert time.thread_time() - started < 1.0
    assert len(json.dumps(event.attributes["context"])) < 5_000


@pytest.mark.parametrize(
    "attributes",
    [{f"a{n}": n for n in range(20_001)}, {"list": [0] * 20_001}, {"deep": json.loads("[" * 500 + "]" * 500)}],
    ids=["names", "values", "levels"],
)
def test_s25_attributes_are_bounded(site, attributes):
    """More values than anybody looks at, or deeper ones, are refused before they are encoded."""
    assert site.client.track("step", attributes, person="ada") is None
    assert site.client.stats().dropped == {cio.DropReason.INVALID_EVENT: 1}


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_s25_a_request_parks_no_more_than_its_share(site, kind):
    """A request that captures without end, about nobody known, holds a hundred events and no more."""
    parked = []

    def endless() -> None:
        for _ in range(1000):
            site.client.track("step")
            parked.append(site.client.stats().parked)

    site.endpoint = endless
    site.get(kind, {"Cookie": "_cioanonid=browser-1"}, person=lambda _: None)
    assert 90 < max(parked) <= 100
    assert site.client.stats().parked == 0
    assert len(site.events) == 1000
