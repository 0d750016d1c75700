"""
The handle that a test holds on a local Customer.io: look, wait without sleeping, and throw faults.

It speaks HTTP to the sandbox, as anything else does, so it works the same with a sandbox of this process and
one elsewhere.
"""

from __future__ import annotations

import time
import weakref
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import httpx

from cio_middleware._default import _DEFAULT
from cio_middleware.exceptions import ClosedError
from cio_middleware.testing._failure import nothing_matched
from cio_middleware.testing._look import Look, _demand
from cio_middleware.testing._seen import SeenEvent
from cio_middleware.testing.clock import FreezableClock, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from cio_middleware._client import Client
    from cio_middleware.sandbox.server import SandboxServer
    from cio_middleware.sandbox.store import House

SITE_ID = "dev"
API_KEY = "dev-key"
PACE = {"flush_interval": 0.05, "retry_base": 0.05}
"""Settings with which a test does not wait for batches to fill."""


class Sandbox(Look):
    """
    One workspace of a sandbox. Every look at a sandbox that does not answer raises `ConnectionError` with its URL.

    Args:
        url: Where the sandbox listens.
        site_id: The workspace. Workspaces share nothing, so one for each test lets tests share a server.
        server: The server behind it, when this process started one; `start` and `stop` need it.

    Attributes:
        timeout: Seconds that waits take unless they say otherwise.
        watch: What a failure says to type or open for a look; the URL by default.
        clock: What a client takes as `clock` to follow `freeze_time`.
    """

    def __init__(
        self,
        url: str,
        site_id: str = SITE_ID,
        server: SandboxServer | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, site_id, transport)
        self.timeout = 2.0
        self.watch = f"{url}/?workspace={site_id}"
        self.clock = FreezableClock()
        self._server = server
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()

    @classmethod
    @contextmanager
    def running(
        cls, *, site_id: str = SITE_ID, port: int = 0, keep: int | None = None, house: House | None = None
    ) -> Iterator[Sandbox]:
        """
        Start a sandbox in a thread, and stop it at the end.

        Args:
            site_id: The workspace that the handle looks at.
            port: 0 takes a free one.
            keep: Events to remember; None means what `house` says, 5000 unless it says otherwise.
            house: The clock, the capacity, and how what Customer.io leaves open is decided.

        Raises:
            ImportError: without uvicorn, with what to type.
        """
        try:
            from cio_middleware.sandbox.server import SandboxServer  # uvicorn is an extra
        except ModuleNotFoundError as error:
            if error.name != "uvicorn":
                raise
            message = 'the sandbox needs uvicorn. Type: pip install "cio-middleware[sandbox]"'
            raise ModuleNotFoundError(message, name=error.name) from error
        from cio_middleware.sandbox.store import Capacity, House

        house = house or House()
        if keep is not None:
            house = replace(house, capacity=Capacity(events=keep, size=None))
        with SandboxServer(port=port, house=house) as server, cls(server.url, site_id, server) as sandbox:
            yield sandbox

    def workspace(self, site_id: str) -> Sandbox:
        """Return a handle on another workspace of the same server; close it, or use it in a `with`."""
        return Sandbox(self.url, site_id, self._server)

    @property
    def settings(self) -> dict[str, Any]:
        """What a client needs to reach this workspace: site_id, api_key and base_url."""
        return {"site_id": self.site_id, "api_key": API_KEY, "base_url": self.url}

    @property
    def client_kwargs(self) -> dict[str, Any]:
        """The same for a test, with a pace at which nobody waits: for `Settings`, `configure` or `Client.from_env`."""
        return {**self.settings, **PACE}

    @property
    def env(self) -> dict[str, str]:
        """The same as environment variables, for an app in a process of its own."""
        return {f"CUSTOMERIO_{name.upper()}": str(value) for name, value in self.client_kwargs.items()}

    def wait_for(
        self,
        name: str | None = None,
        *,
        person: str | None = None,
        kind: str | None = None,
        data: Mapping[str, Any] | None = None,
        verdict: str | None = None,
        since: int = 0,
        timeout: float | None = None,
    ) -> SeenEvent:
        """
        Wait until an event was stored that matches, and return the newest.

        Args:
            name: Its exact name.
            person: What the person it went to is called.
            kind: ``event``, ``identify``, ``page`` and so on.
            data: A part of its data; values may be operators such as ``{"$gt": 1}``.
            verdict: What became of it; None means stored.
            since: Only after this number; see `cursor`.
            timeout: Seconds; what has arrived already counts. None means `timeout` of the handle.

        Raises:
            AssertionError: with the events that came closest.
        """
        __tracebackhide__ = True  # pytest then points at the line of the test
        expected = _expected(name=name, person=person, kind=kind, data=data and dict(data), verdict=verdict)
        return self.wait(expected, timeout=timeout, since=since)[-1]

    def wait_for_all(
        self, *wanted: str | Mapping[str, Any], since: int = 0, timeout: float | None = None
    ) -> list[SeenEvent]:
        """
        Wait until each of these was stored, in any order, and return the newest of each.

        Args:
            wanted: Names, or what `wait_for` takes by name: ``{"name": "paid", "person": "ada"}``.
            since: Only after this number.
            timeout: Seconds for all of them together.

        Raises:
            AssertionError: for the first one that did not come.
        """
        __tracebackhide__ = True
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        stated = [{"name": one} if isinstance(one, str) else one for one in wanted]
        return [
            self.wait(_expected(**one), since=since, timeout=max(0.0, end - time.monotonic()))[-1] for one in stated
        ]

    def wait(
        self,
        match: Mapping[str, Any],
        *,
        count: int | None = None,
        exactly: int | None = None,
        at_most: int | None = None,
        since: int = 0,
        timeout: float | None = None,
        settle: float = 0.0,
    ) -> list[SeenEvent]:
        """
        Wait for a number of events, and return all that matched, oldest first.

        Args:
            match: A part of the event's row; see the sandbox's reference for operators.
            count: At least so many; 0 asserts that none comes within `settle`. One when nothing else is said.
            exactly: So many, and no more within `settle`.
            at_most: No more within `settle`.
            since: Only after this number.
            timeout: Seconds to wait for them; None means `timeout` of the handle.
            settle: Seconds to watch for one too many.

        Raises:
            AssertionError: with the events that came closest.
        """
        __tracebackhide__ = True
        timeout = self.timeout if timeout is None else timeout
        stated = {"count": count, "exactly": exactly, "at_most": at_most, "since": since}
        body = {"match": dict(match), "timeout_ms": timeout * 1000, "settle_ms": settle * 1000}
        body |= {key: value for key, value in stated.items() if value is not None}
        reply = self._ask("POST", "/wait", json=body)
        answer = reply.json()
        if reply.status_code == httpx.codes.REQUEST_TIMEOUT:
            raise AssertionError(nothing_matched(body, answer, self.watch))
        _demand(reply)
        return self._looked(SeenEvent.of(item) for item in answer["matched"])

    def assert_tracked(
        self,
        name: str,
        *,
        person: str | None = None,
        data: Mapping[str, Any] | None = None,
        times: int | None = None,
        since: int = 0,
    ) -> SeenEvent:
        """
        Send what is queued, and assert that such an event was stored. Returns the newest.

        Args:
            name: Its exact name.
            person: What the person it went to is called.
            data: A part of its data.
            times: Exactly so often; None means once or more.
            since: Only after this number.

        Raises:
            AssertionError: with the events that came closest.
        """
        __tracebackhide__ = True
        self.flush()
        expected = _expected(name=name, person=person, data=data and dict(data))
        return self.wait(expected, exactly=times, since=since, timeout=0.0)[-1]

    def assert_not_tracked(self, name: str, *, person: str | None = None, settle: float = 0.1) -> None:
        """
        Assert that no event of this name was stored, and that none comes within `settle` seconds.

        Raises:
            AssertionError: when there is one, with what came.
        """
        __tracebackhide__ = True
        whose = {} if person is None else {"person": person}
        self.wait({"name": name, "good": True, **whose}, count=0, settle=settle)

    def attach(self, client: Client) -> Client:
        """Have `flush` flush this client, too. Returns it."""
        self._clients.add(client)
        return client

    def flush(self, timeout: float | None = None) -> bool:
        """
        Send what the attached clients hold, and the process's default client if it sends here.

        Returns:
            True when nothing that was captured before is pending any more.
        """
        clients = set(self._clients)
        if (default := _DEFAULT.client) is not None and self._is_mine(default):
            clients.add(default)
        settled = True
        for client in clients:
            try:
                settled = client.flush(timeout) and settled
            except ClosedError:  # and so all of it is settled
                continue
        return settled

    def freeze_time(self, at: float | datetime) -> FreezableClock:
        """
        Stop the clock of this workspace, and of the clients that were made with `clock`, at a time.

        It goes on at the end of a `with`, and at the latest at the end of the fixture. Waits and retries take as long
        as ever.
        """
        seconds = seconds_of(at)
        self._call("PUT", "/clock", json={"at": seconds})
        return self.clock.freeze(seconds, thaw=lambda: self._call("PUT", "/clock", json={"at": None}))

    def stop(self) -> None:
        """Begin an outage: every connection is reset and the port is closed; what was stored stays."""
        self._owned().stop()

    def start(self) -> None:
        """End an outage, on the same port."""
        self._owned().start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_mine(self, client: Client) -> bool:
        settings = client.settings
        return settings.site_id == self.site_id and (settings.base_url or "").rstrip("/") == self.url

    def _owned(self) -> SandboxServer:
        if self._server is None:
            raise RuntimeError("this sandbox was started elsewhere, and can only be stopped there")
        return self._server


def _expected(**stated: Any) -> dict[str, Any]:
    """A match of a stored row; with a verdict, of one that it is said of."""
    match = {key: value for key, value in stated.items() if value is not None}
    return match if "verdict" in match else {**match, "good": True}
