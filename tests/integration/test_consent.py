"""Whom `consent` asks, how often, and that a no, a signal of the browser and a failure all keep events back."""

from __future__ import annotations

import logging

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from cio_middleware import DropReason
from cio_middleware.asgi import CustomerIOMiddleware
from cio_middleware.exceptions import ConfigurationError
from cio_middleware.processors import consent, redact, sample
from cio_middleware.wsgi import CustomerIOMiddleware as WSGIMiddleware


@pytest.fixture(name="asked")
def _asked():
    return []


@pytest.fixture(name="ask")
def _ask(asked):
    def ask(subject):
        asked.append(subject)
        return subject.cookie("consent") == "yes"

    return ask


def visit(client, handler, **headers):
    """One request, in which the handler runs, and all that it captured delivered."""

    async def endpoint(request):
        handler()
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(CustomerIOMiddleware, client=client)
    TestClient(app).get("/", headers=headers)
    client.flush()


def test_only_who_agreed_is_tracked(make_client, sandbox, ask):
    """The answer comes from the request, and the events of who did not agree are counted by that reason."""
    client = make_client(client_options={"processors": [consent(ask)]})

    def handler():
        client.track("seen", person="ada")

    visit(client, handler, cookie="a=1; consent=yes; b=2")
    visit(client, handler, cookie="consent=no")
    visit(client, handler)

    assert sandbox.count("seen") == 1
    assert client.stats().dropped == {DropReason.NO_CONSENT: 2}


def test_each_person_is_asked_for_once_a_request(make_client, ask, asked):
    """Another event asks nobody again; another person, or another request, does."""
    client = make_client(client_options={"processors": [consent(ask)]})

    def handler():
        for person in ("ada", "ada", "bob", "ada"):
            client.track("seen", person=person)

    visit(client, handler, cookie="consent=yes")
    assert [subject.identity.key for subject in asked] == [("id", "ada"), ("id", "bob")]
    visit(client, handler, cookie="consent=yes")
    assert len(asked) == 4
    assert "ada" not in repr(asked)


def test_outside_of_a_request_each_event_is_asked_for(make_client, asked, ask):
    """There is nothing to remember an answer by."""
    client = make_client(client_options={"processors": [consent(ask)]})
    client.track("seen", person="ada")
    client.identify("ada", {"plan": "pro"})
    assert [subject.request for subject in asked] == [None, None]
    assert client.stats().dropped == {DropReason.NO_CONSENT: 2}


def test_a_parked_event_is_asked_for_with_its_request(make_client, sandbox, ask, asked):
    """It is settled at the end, when its person is known, and the request is still the one that captured it."""
    client = make_client(client_options={"processors": [consent(ask)]})

    def handler():
        client.track("before", None)
        client.identify("ada")

    visit(client, handler, cookie="consent=yes")

    assert sandbox.events(name="before")[0].person == "ada"
    assert asked[0].request is not None


def test_a_browser_is_asked_for_by_its_anonymous_id(make_client, sandbox, ask, asked):
    """Nobody is signed in: the event goes out under the id of the cookie, and that is who is asked for."""
    client = make_client(client_options={"processors": [consent(ask)]})
    visit(client, lambda: client.track("seen"), cookie="_cioanonid=b7; consent=yes")
    assert [(subject.identity, subject.anonymous_id) for subject in asked] == [(None, "b7")]
    assert sandbox.count("seen") == 1


@pytest.mark.parametrize(("headers", "goes"), [
    ({}, 1), ({"Sec-GPC": "1"}, 0), ({"DNT": "1"}, 0), ({"Sec-GPC": "0", "DNT": "0"}, 1), ({"sec-gpc": " 1 "}, 0),
])  # fmt: skip
def test_a_signal_of_the_browser_is_a_no(make_client, sandbox, headers, goes):
    """`Sec-GPC: 1` and `DNT: 1` keep events back where they are switched on."""
    client = make_client(client_options={"processors": [consent(signals=["gpc", "dnt"])]})
    visit(client, lambda: client.track("seen", person="ada"), **headers)
    assert sandbox.count("seen") == goes


def test_a_signal_is_heard_on_wsgi_too(make_client, sandbox):
    """The same under Flask."""
    client = make_client(client_options={"processors": [consent(signals=["gpc"])]})
    app = Flask("shop")

    @app.get("/")
    def index():
        client.track("seen", person="ada")
        return "ok"

    app.wsgi_app = WSGIMiddleware(app.wsgi_app, client=client)  # type: ignore[method-assign]
    app.test_client().get("/", headers={"Sec-GPC": "1"})
    app.test_client().get("/")
    client.flush()
    assert sandbox.count("seen") == 1


async def _later(subject):
    return True


class _Late:
    async def __call__(self, subject):
        return True


@pytest.mark.parametrize(
    "ask",
    [lambda subject: 1 / 0, lambda subject: "yes", lambda subject: None, _Late()],
    ids=["raises", "text", "nothing", "coroutine"],
)
def test_without_a_clear_answer_nothing_is_sent(make_client, sandbox, caplog, ask):
    """A failure to ask is a no, and is said once."""
    client = make_client(client_options={"processors": [consent(ask)]})
    with caplog.at_level(logging.WARNING):
        client.track("seen", person="ada")
        client.track("seen", person="ada")
    client.flush()
    assert client.stats().dropped == {DropReason.PROCESSOR_FAILED: 2}
    assert sandbox.count("seen") == 0
    assert len([line for line in caplog.messages if "Consent raised" in line]) == 1
    assert "ada" not in caplog.text


@pytest.mark.parametrize(("arguments", "says"), [
    ({}, "asks nobody"), ({"signals": "gpc"}, "takes a list"), ({"signals": ["gps"]}, "'gpc', 'dnt'"),
    ({"ask": 7}, "a plain function"), ({"ask": _later}, "a plain function"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(arguments, says):
    """A processor that protects people fails when it is made."""
    with pytest.raises(ConfigurationError, match=says):
        consent(**arguments)


def test_all_three_work_together(make_client, sandbox):
    """Asked first, sampled next, redacted last: nothing that is kept back is in any request."""
    client = make_client(
        client_options={"processors": [consent(lambda subject: True), sample({"noise": 0}), redact(["password"])]}
    )
    client.track("noise", {"password": "c4n4ry"}, person="ada")
    client.track("seen", {"password": "c4n4ry", "total": 1}, person="ada")
    client.flush()
    assert [row.data["total"] for row in sandbox.events(name="seen")] == [1]
    assert sandbox.count("noise") == 0
    assert all("c4n4ry" not in request.body for request in sandbox.requests())
    assert client.stats().dropped == {DropReason.SAMPLED: 1}
