"""What the how-to pages claim in prose, beside their blocks."""

from __future__ import annotations

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import cio_middleware as cio
from cio_middleware.asgi import CustomerIOMiddleware


def test_a_decorator_above_a_route_never_fires(client):
    """Flask registers what it is given, so only what stands below the route is called."""
    app = Flask(__name__)
    track = cio.track_event(client=client, person="ada")

    @track
    @app.get("/above")
    def above():
        return "above"

    @app.get("/below")
    @track
    def below():
        return "below"

    browser = app.test_client()
    assert browser.get("/above").text == "above"
    assert client.stats().captured == 0
    assert browser.get("/below").text == "below"
    assert client.stats().captured == 1


@pytest.mark.parametrize("in_a_thread", [True, False], ids=["def", "async def"])
def test_a_dependency_names_the_person_of_the_request(in_a_thread, client, sandbox):
    """FastAPI runs a `def` dependency in a thread; what it says holds for the event of the route all the same."""

    async def order(_request):
        if in_a_thread:
            await run_in_threadpool(cio.identify, "ada")
        else:
            cio.identify("ada")
        cio.track("order_placed")
        return PlainTextResponse("Thank you.")

    app = Starlette(routes=[Route("/orders", order, methods=["POST"])])
    app.add_middleware(CustomerIOMiddleware, client=client)
    with TestClient(app) as browser:
        browser.post("/orders")

    assert [(event.name, event.person) for event in sandbox.events()] == [("order_placed", "ada")]


def test_a_visitor_without_cookie_and_person_is_dropped_with_a_reason(client):
    """Nobody is known, not even a browser, so there is nobody whom the event could be about."""

    async def order(_request):
        cio.track("order_placed")
        return PlainTextResponse("Thank you.")

    app = Starlette(routes=[Route("/orders", order, methods=["POST"])])
    app.add_middleware(CustomerIOMiddleware, client=client)
    with TestClient(app) as browser:
        browser.post("/orders")

    assert client.stats().dropped == {"no_identity": 1}
