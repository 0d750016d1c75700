"""
The handle that a test holds on a local Customer.io: look, wait without sleeping, and throw faults.

It speaks HTTP to the sandbox, as anything else does, so it works the same with a sandbox of this process and
one elsewhere.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx

from cio_middleware.testing._seen import SHOWN, SeenEvent, SeenFault, SeenPerson, SeenRequest, nothing_matched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cio_middleware.sandbox.server import SandboxServer
    from cio_middleware.sandbox.store import House

SITE_ID = "dev"
API_KEY = "dev-key"
EVERYTHING = "1000000000"


class Sandbox:
    """
    One workspace of a sandbox. Every look at a sandbox that does not answer raises `ConnectionError` with its URL.

    Args:
        url: Where the sandbox listens.
        site_id: The workspace. Workspaces share nothing, so one for each test lets tests share a server.
        server: The server behind it, when this process started one; `start` and `stop` need it.
    """

    def __init__(self, url: str, site_id: str = SITE_ID, server: SandboxServer | None = None) -> None:
        self.url = url
        self.site_id = site_id
        self._server = server
        # trust_env off: a proxy set in the environment must not come between a test and this machine.
        self._http = httpx.Client(
            base_url=f"{url}/_sandbox/v1",
            headers={"X-Cio-Sandbox": "1"},
            params={"workspace": site_id},
            timeout=70,
            trust_env=False,
            verify=ssl.SSLContext(
                ssl.PROTOCOL_TLS_CLIENT
            ),  # never used, and reading the system's certificates takes 20 ms
        )
        self.faults = Faults(self._call)
        self.people = People(self._call)

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

    def events(
        self,
        name: str | None = None,
        *,
        person: str | None = None,
        kind: str | None = None,
        verdict: str | None = None,
        since: int = 0,
    ) -> list[SeenEvent]:
        """
        Return what arrived, oldest first.

        Args:
            name: The event's name; ``*`` and ``?`` are wildcards.
            person: What the person is called, or any identifier as it was sent.
            kind: ``event``, ``identify``, ``page`` and so on.
            verdict: ``accepted``, ``accepted_but``, ``ignored``, ``duplicate``, ``rejected`` or ``fault``.
            since: Only after this number; see `cursor`.
        """
        wanted = {"name": name, "person": person, "kind": kind, "verdict": verdict, "since": since}
        return self._listed("/events", wanted)

    @property
    def good(self) -> list[SeenEvent]:
        """Everything that was stored, oldest first."""
        return self._listed("/good", {})

    @property
    def bad(self) -> list[SeenEvent]:
        """Everything that was rejected or ignored, oldest first; each has `errors`."""
        return self._listed("/bad", {})

    @property
    def cursor(self) -> int:
        """The number of the newest event; `events` and `wait_for` take it as `since`."""
        return int(self.summary()["cursor"])

    def count(self, name: str) -> int:
        """Return how many events of this name were stored since the last reset; repeats are not."""
        counts = self.summary()["by_name"].get(name, {})
        return int(counts.get("accepted", 0)) + int(counts.get("accepted_but", 0))

    def duplicates(self, name: str) -> int:
        """Return how many repeats of events of this name were ignored, since the last reset."""
        return int(self.summary()["by_name"].get(name, {}).get("duplicate", 0))

    def summary(self) -> dict[str, Any]:
        """Return the counters of the workspace."""
        return dict(self._call("GET", "/summary"))

    def requests(self) -> list[SeenRequest]:
        """Return the requests that arrived, oldest first, without their credentials."""
        items = self._call("GET", "/requests", params={"limit": EVERYTHING})["items"]
        return [SeenRequest.of(item) for item in reversed(items)]

    def wait_for(
        self,
        name: str | None = None,
        *,
        person: str | None = None,
        kind: str | None = None,
        data: Mapping[str, Any] | None = None,
        verdict: str | None = None,
        since: int = 0,
        timeout: float = 2.0,
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
            timeout: Seconds; what has arrived already counts.

        Raises:
            AssertionError: with the events that came closest.
        """
        __tracebackhide__ = True  # pytest then points at the line of the test
        stated = {"name": name, "person": person, "kind": kind, "data": data and dict(data), "verdict": verdict}
        match = {key: value for key, value in stated.items() if value is not None}
        expected = match if verdict else {**match, "good": True}
        return self.wait(expected, timeout=timeout, since=since)[-1]

    def wait(
        self,
        match: Mapping[str, Any],
        *,
        count: int | None = None,
        exactly: int | None = None,
        at_most: int | None = None,
        since: int = 0,
        timeout: float = 2.0,
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
            timeout: Seconds to wait for them.
            settle: Seconds to watch for one too many.

        Raises:
            AssertionError: with the events that came closest.
        """
        __tracebackhide__ = True
        stated = {"count": count, "exactly": exactly, "at_most": at_most, "since": since}
        body = {"match": dict(match), "timeout_ms": timeout * 1000, "settle_ms": settle * 1000}
        body |= {key: value for key, value in stated.items() if value is not None}
        reply = self._ask("POST", "/wait", json=body)
        answer = reply.json()
        if reply.status_code == httpx.codes.REQUEST_TIMEOUT:
            raise AssertionError(nothing_matched(body, answer))
        _demand(reply)
        return [SeenEvent.of(item) for item in answer["matched"]]

    def assert_not_tracked(self, name: str, *, person: str | None = None, settle: float = 0.1) -> None:
        """
        Assert that no event of this name was stored, and that none comes within `settle` seconds.

        Raises:
            AssertionError: when there is one, with what came.
        """
        __tracebackhide__ = True
        whose = {} if person is None else {"person": person}
        self.wait({"name": name, "good": True, **whose}, count=0, settle=settle)

    def reset(self) -> None:
        """Forget everything in this workspace, and put its faults away."""
        self._call("POST", "/reset")

    def stop(self) -> None:
        """Begin an outage: every connection is reset and the port is closed; what was stored stays."""
        self._owned().stop()

    def start(self) -> None:
        """End an outage, on the same port."""
        self._owned().start()

    def close(self) -> None:
        """Close the connections of this handle; the server runs on."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _owned(self) -> SandboxServer:
        if self._server is None:
            raise RuntimeError("this sandbox was started elsewhere, and can only be stopped there")
        return self._server

    def _listed(self, path: str, wanted: Mapping[str, Any]) -> list[SeenEvent]:
        params = {key: value for key, value in wanted.items() if value is not None}
        items = self._call("GET", path, params={**params, "limit": EVERYTHING})["items"]
        return [SeenEvent.of(item) for item in reversed(items)]

    def _call(self, method: str, path: str, **options: Any) -> Any:
        reply = self._ask(method, path, **options)
        _demand(reply)
        return reply.json()

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            message = (
                f"no sandbox answers at {self.url} ({type(error).__name__}). Is it running? cio-middleware sandbox"
            )
            raise ConnectionError(message) from error


class Faults:
    """The levers of one workspace."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def script(self, steps: list[str], *, match: Mapping[str, Any] | None = None) -> None:
        """
        Answer the next requests with these steps, one each.

        Args:
            steps: Such as ``["429;retry_after=1", "ack_lost", "ok*"]``; a last step with ``*`` repeats, after
                another one all is normal.
            match: Which requests take a step, such as ``{"endpoint": "track.v2.batch"}``; None means all.
        """
        self._call("PUT", "/faults/script", json={"steps": steps, "match": match})

    def rule(
        self,
        *,
        do: Mapping[str, Any],
        match: Mapping[str, Any] | None = None,
        when: Mapping[str, Any] | None = None,
        label: str = "",
    ) -> str:
        """Add a rule after the others, and return its id; the sandbox's reference lists what may be said."""
        answer = self._call("POST", "/faults", json={"do": do, "match": match, "when": when, "label": label})
        return str(answer["id"])

    def rules(self) -> list[SeenFault]:
        """Return the rules, with how many requests each has seen and hit."""
        return [SeenFault.of(item) for item in self._call("GET", "/faults")["rules"]]

    def clear(self) -> None:
        """Put every fault away."""
        self._call("DELETE", "/faults")


class People:
    """The profiles of one workspace, by id, email, phone, cio_id or anonymous id."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getitem__(self, key: str) -> SeenPerson:
        if (found := self._find(key)) is None:
            raise KeyError(f"nobody here is called {key!r}; {self._here()}")
        return found

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def __iter__(self) -> Iterator[SeenPerson]:
        return (SeenPerson.of(item) for item in self._call("GET", "/people")["items"])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, key: str) -> SeenPerson | None:
        try:
            return SeenPerson.of(self._call("GET", f"/people/{quote(key, safe='')}"))
        except LookupError:
            return None

    def _here(self) -> str:
        keys = [person.key for person in self]
        more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
        return f"here: {', '.join(keys[:SHOWN])}{more}" if keys else "nobody is here at all"


def _demand(reply: httpx.Response) -> None:
    if reply.status_code == httpx.codes.NOT_FOUND:
        raise LookupError(reply.json()["error"]["message"])
    if reply.is_error:
        error = reply.json()["error"]
        raise ValueError(f"{error['message']} {error['fix']}")
