"""
Who plays: this package, two peers that send to the same kind of endpoint, and the floor.

Each is used as its own documentation says, with its own defaults. What a scenario changes is passed by it: the bound of
the queue where a default would drop events, the rate limit where the library and not the limit is the question.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from typing import Any, Protocol

NAME = "order_placed"
CLOSE_SECONDS = 10.0
_MODULES = {
    "ours": "cio_middleware",
    "segment": "segment.analytics",
    "cdp": "customerio.analytics",
    "posthog": "posthog",
}


def is_here(player: str) -> bool:
    """Whether what the player needs is installed; without `make bench`, the peers are not."""
    try:
        return player not in _MODULES or importlib.util.find_spec(_MODULES[player]) is not None
    except ModuleNotFoundError:
        return False


def attributes(n: int, *, bad: bool = False) -> dict[str, Any]:
    """What every event carries: its number, by which the sink knows it, and four values as a shop would send."""
    found: dict[str, Any] = {"n": n, "plan": "pro", "amount": 49.9, "path": "/checkout/complete", "source": "web"}
    return {**found, "bad": True} if bad else found


class Player(Protocol):
    """One library."""

    def track(self, person: str, attributes: dict[str, Any]) -> Any:
        """Capture an event."""
        ...

    def flush(self) -> None:
        """Come back when everything is delivered."""
        ...

    def close(self) -> None:
        """Shut down as documented, for at most `CLOSE_SECONDS`."""
        ...


class Ours:
    """This package: queued, in memory."""

    def __init__(self, url: str, *, queue: int | None = None, rate_limit: float | None = None) -> None:
        from cio_middleware import Client, Settings

        chosen: dict[str, Any] = {"max_queue_events": queue, "rate_limit": rate_limit}
        self.client = Client(
            Settings(
                site_id="bench",
                api_key="bench",
                base_url=url,
                sandbox_reporting=False,  # the sink is on this machine, but it is no sandbox to report to
                **{name: value for name, value in chosen.items() if value is not None},
            )
        )
        self._track = self.client.track

    def track(self, person: str, attributes: dict[str, Any]) -> Any:
        """Capture an event."""
        return self._track(NAME, attributes, person=person)

    def flush(self) -> None:
        """Deliver."""
        self.client.flush(60)

    def close(self) -> None:
        """Deliver and stop."""
        self.client.close(CLOSE_SECONDS)


class SegmentLike:
    """segment-analytics-python, and customerio-cdp-analytics, which began as a copy of it."""

    def __init__(self, module: str, url: str, queue: int | None) -> None:
        bound = {} if queue is None else {"max_queue_size": queue}
        self._client = importlib.import_module(f"{module}.client").Client("bench", host=url, **bound)
        self._track = self._client.track

    def track(self, person: str, attributes: dict[str, Any]) -> Any:
        """Capture an event."""
        return self._track(person, NAME, attributes)

    def flush(self) -> None:
        """Deliver."""
        self._client.flush()

    def close(self) -> None:
        """Deliver and stop; `shutdown` itself knows no deadline."""
        bounded(self._client.shutdown)


class FloorPlayer:
    """See `floor`."""

    def __init__(self, url: str) -> None:
        from .floor import Floor

        self._floor = Floor(url)
        self._track = self._floor.track

    def track(self, person: str, attributes: dict[str, Any]) -> Any:
        """Capture an event."""
        return self._track(person, NAME, attributes)

    def flush(self) -> None:
        """The floor has no flush but its close."""
        self._floor.close()

    def close(self) -> None:
        """Deliver and stop."""
        self._floor.close()


def make(player: str, url: str, *, queue: int | None = None, rate_limit: float | None = None) -> Player:
    """A player at its start. `queue` is how many events it must be able to hold; `rate_limit` concerns only ours."""
    if player == "ours":
        return Ours(url, queue=queue, rate_limit=rate_limit)
    if player == "floor":
        return FloorPlayer(url)
    return SegmentLike(_MODULES[player], url, queue)


def bounded(call: Any) -> None:
    """Run something that may never come back, and wait for it no longer than `CLOSE_SECONDS`."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(CLOSE_SECONDS)
