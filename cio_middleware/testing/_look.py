"""
Look into one workspace of a sandbox, and remember what of it a test has looked at.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from cio_middleware.testing._failure import ledger
from cio_middleware.testing._levers import Faults, People
from cio_middleware.testing._seen import SeenEvent, SeenProblem, SeenRequest

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

EVERYTHING = "1000000000"


class Look:
    """
    The eyes of a test. Every look at a sandbox that does not answer raises `ConnectionError` with its URL.

    Attributes:
        strict: Whether `bad` and the end of a test take what was stored with warnings for lost.
    """

    def __init__(self, url: str, site_id: str, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url
        self.site_id = site_id
        self.strict = False
        self._looked_at: set[int] = set()
        # trust_env off: a proxy set in the environment must not come between a test and this machine.
        self._http = httpx.Client(
            base_url=f"{url}/_sandbox/v1",
            headers={"X-Cio-Sandbox": "1"},
            params={"workspace": site_id},
            timeout=70,
            trust_env=False,
            transport=transport,
            verify=ssl.SSLContext(
                ssl.PROTOCOL_TLS_CLIENT
            ),  # never used, and reading the system's certificates takes 20 ms
        )
        self.faults = Faults(self._call)
        self.people = People(self._call)

    def events(
        self,
        name: str | None = None,
        *,
        q: str | None = None,
        person: str | None = None,
        kind: str | None = None,
        verdict: str | None = None,
        since: int = 0,
    ) -> list[SeenEvent]:
        """
        Return what arrived, oldest first.

        Args:
            name: The event's name; ``*`` and ``?`` are wildcards.
            q: A filter as the sandbox's page takes it, such as ``name:order_* is:retried``.
            person: What the person is called, or any identifier as it was sent.
            kind: ``event``, ``identify``, ``page`` and so on.
            verdict: ``accepted``, ``accepted_but``, ``ignored``, ``duplicate``, ``rejected``, ``fault`` or
                ``never_sent``.
            since: Only after this number; see `cursor`.
        """
        wanted = {"name": name, "q": q, "person": person, "kind": kind, "verdict": verdict, "since": since}
        return self._listed("/events", wanted)

    @property
    def good(self) -> list[SeenEvent]:
        """Everything that was stored, oldest first."""
        return self._listed("/good", {})

    @property
    def bad(self) -> list[SeenEvent]:
        """
        Everything that was rejected or ignored, or dropped by mistake before it was sent; oldest first, with `errors`.
        """
        return self._looked(self._bad())

    @property
    def problems(self) -> list[SeenProblem]:
        """What went wrong, grouped by code, name and field; the most frequent first."""
        self._looked(self._bad())
        return [SeenProblem.of(item) for item in self._call("GET", "/problems")["items"]]

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

    def export(self, path: str | os.PathLike[str]) -> int:
        """Write everything in this workspace to a file, as NDJSON for a bug report. Returns its bytes."""
        reply = self._ask("GET", "/export.ndjson")
        _demand(reply)
        return Path(path).write_bytes(reply.content)

    def reset(self) -> None:
        """Forget everything in this workspace, put its faults away, and let its clock go on."""
        self._call("POST", "/reset")

    def unlooked(self) -> list[SeenEvent]:
        """What is bad, and was in nothing that this handle has returned."""
        return [event for event in self._bad() if event.seq not in self._looked_at]

    def report(self, where: str = "") -> str:
        """The newest events as text that is safe in a terminal."""
        params = {"limit": EVERYTHING}
        items = self._call("GET", "/events", params=params)["items"]
        return ledger([SeenEvent.of(item) for item in reversed(items)], where)

    def close(self) -> None:
        """Close the connections of this handle; the server runs on."""
        self._http.close()

    def _bad(self) -> list[SeenEvent]:
        bad = self._read("/bad", {})
        if self.strict:
            bad += self._read("/events", {"verdict": "accepted_but"})
        return sorted(bad, key=lambda event: event.seq)

    def _listed(self, path: str, wanted: Mapping[str, Any]) -> list[SeenEvent]:
        return self._looked(self._read(path, wanted))

    def _read(self, path: str, wanted: Mapping[str, Any]) -> list[SeenEvent]:
        params = {key: value for key, value in wanted.items() if value is not None}
        items = self._call("GET", path, params={**params, "limit": EVERYTHING})["items"]
        return [SeenEvent.of(item) for item in reversed(items)]

    def _looked(self, events: Iterable[SeenEvent]) -> list[SeenEvent]:
        looked = list(events)
        self._looked_at.update(event.seq for event in looked)
        return looked

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


def _demand(reply: httpx.Response) -> None:
    if reply.status_code == httpx.codes.NOT_FOUND:
        raise LookupError(_said(reply))
    if reply.is_error:
        raise ValueError(_said(reply))


def _said(reply: httpx.Response) -> str:
    if not reply.headers.get("content-type", "").startswith("application/json"):
        return f"the sandbox answers {reply.status_code} to {reply.request.method} {reply.request.url.path}"
    error = reply.json()["error"]
    return str(error["message"]) if reply.status_code == httpx.codes.NOT_FOUND else f"{error['message']} {error['fix']}"
