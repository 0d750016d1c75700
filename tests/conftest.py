"""What every test may ask for: a real sandbox, a workspace of its own on it, and clients that are closed at the end."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from customerio import CustomerIO
from requests.adapters import HTTPAdapter

from cio_middleware import Client, Settings, _default
from cio_middleware.testing import Sandbox
from cio_middleware.testing.clock import ManualClock

_workspaces = itertools.count(1)


class PlainText(HTTPAdapter):
    """Sends what is meant for https in plain text, to the same host and port: Customer.io's SDK only speaks https."""

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        """Send one request."""
        request.url = str(request.url).replace("https://", "http://", 1)
        return super().send(request, *args, **options)


@pytest.fixture(scope="session", name="sandbox_server")
def _sandbox_server() -> Iterator[Sandbox]:
    """One sandbox for the whole run, in a thread, on a free port."""
    with Sandbox.running() as sandbox:
        yield sandbox


@pytest.fixture(name="sandbox")
def _sandbox(sandbox_server: Sandbox) -> Iterator[Sandbox]:
    """A workspace of the test's own."""
    with sandbox_server.workspace(f"test{next(_workspaces)}") as workspace:
        yield workspace


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., None]:
    """Waits until something holds, and fails when it does not in time."""

    def wait(holds: Callable[[], object], timeout: float = 5.0) -> None:
        until, pause = time.monotonic() + timeout, threading.Event()
        while not holds():
            assert time.monotonic() < until, "it did not come to hold in time"
            pause.wait(0.003)

    return wait


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture(name="make_client")
def _make_client(sandbox: Sandbox) -> Iterator[Callable[..., Client]]:
    """Builds clients on the sandbox; arguments are settings, and `client_options` go to the client."""
    made: list[Client] = []

    def make(*, client_options: dict[str, Any] | None = None, **settings: Any) -> Client:
        quick = {"retry_base": 0.01, "flush_interval": 0.05, "shutdown_timeout": 2.0}
        client = Client(Settings(**{**sandbox.settings, **quick, **settings}), **(client_options or {}))
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture(name="client")
def _client(make_client: Callable[..., Client]) -> Client:
    """A queued client on the sandbox, with quick retries."""
    return make_client()


@pytest.fixture(name="make_official")
def _make_official(sandbox: Sandbox) -> Iterator[Callable[..., CustomerIO]]:
    """Builds Customer.io's own SDK on the sandbox; arguments are its own, and its retries stay as they are."""
    made: list[CustomerIO] = []

    def make(**options: Any) -> CustomerIO:
        host, port = sandbox.url.removeprefix("http://").split(":")
        client = CustomerIO(sandbox.site_id, "key", host=host, port=int(port), **options)
        own_retries = client.http.get_adapter("https://").max_retries
        client.http.mount("https://", PlainText(max_retries=own_retries))
        client.http.mount("http://", HTTPAdapter(max_retries=own_retries))
        client.http.trust_env = False
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture(autouse=True)
def _no_default_client() -> Iterator[None]:
    """No test leaves a default client to the next."""
    _default.reset()
    yield
    _default.reset()
