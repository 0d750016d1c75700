"""What the how-to pages claim in prose, beside their blocks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import cio_middleware as cio
from cio_middleware.asgi import CustomerIOMiddleware

pytest_plugins = ["pytester"]


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


def signs_in(user: str) -> str:
    """A dependency that FastAPI runs in a thread."""
    cio.identify(user)
    return user


async def asigns_in(user: str) -> str:
    """A dependency that runs on the event loop."""
    return signs_in(user)


@pytest.mark.parametrize("dependency", [signs_in, asigns_in])
def test_a_dependency_names_the_person_of_the_request(dependency, client, sandbox):
    """FastAPI runs a `def` dependency in a thread; what it says holds for the event of the route all the same."""
    app = FastAPI()
    app.add_middleware(CustomerIOMiddleware, client=client)

    @app.post("/orders", dependencies=[Depends(dependency)])
    @cio.track_event("order_placed", attributes=["total"])
    def place_order(total: int) -> str:
        return f"Thank you for {total}."

    with TestClient(app) as browser:
        assert browser.post("/orders?user=ada&total=3").json() == "Thank you for 3."

    (event,) = sandbox.events()
    assert (event.name, event.person, event.data["total"]) == ("order_placed", "ada", 3)


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


def test_the_tests_of_the_page_pass(pytester, monkeypatch):
    """A reader who types the page on testing into a file and runs pytest sees three tests pass."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "test-your-app.md").read_text("utf-8")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    pytester.makepyfile("\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)))
    pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60).assert_outcomes(passed=3)
