"""
What a request knows: one mutable cell in a ContextVar, and the overlays of `bound()`.

The cell is mutable on purpose. A sync endpoint runs in a worker thread with a copy of the context: what it sets in a
ContextVar stays there, what it sets on the cell reaches the middleware.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from ._events import Event, Identity

MAX_PARKED_EVENTS = 100
MAX_PARKED_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that waits for a person, with what was known at its capture."""

    event: Event
    captured_at: float
    carrier: Any


class RequestCell:
    """
    One request, as far as events care.

    `source` is the ASGI scope or the WSGI environ. `identity` is who the request belongs to, once known.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_read_anonymous_id",
        "_read_context",
        "anonymous_id",
        "answer",
        "asked",
        "client",
        "identity",
        "linked",
        "parked",
        "parked_bytes",
        "parks",
        "resolver",
        "source",
    )

    def __init__(
        self,
        client: Any,
        source: Mapping[str, Any],
        *,
        resolver: Callable[[RequestCell], Any] | None,
        read_context: Callable[[Mapping[str, Any]], bytes],
        read_anonymous_id: Callable[[Mapping[str, Any]], str | None],
        parks: bool = True,
    ) -> None:
        self.client = client
        self.source = source
        self.resolver = resolver
        self.identity: Identity | None = None
        self.anonymous_id: str | None = None
        self.linked = False
        self.asked = False
        self.answer: Any = None
        self.parks = parks
        self.parked: deque[Parked] | None = None
        self.parked_bytes = 0
        self._context: bytes | None = None
        self._read_context = read_context
        self._read_anonymous_id: Callable[[Mapping[str, Any]], str | None] | None = read_anonymous_id

    def context(self) -> bytes:
        """The request as `attributes["context"]`, encoded at the first event and kept."""
        if self._context is None:
            self._context = self._read_context(self.source)
        return self._context

    def browser(self) -> str | None:
        """The anonymous id that the browser brought, read once."""
        if self._read_anonymous_id is not None:
            read, self._read_anonymous_id = self._read_anonymous_id, None
            self.anonymous_id = read(self.source)
        return self.anonymous_id

    def __repr__(self) -> str:
        known = "known" if self.identity is not None else "unknown"
        return f"RequestCell(person {known}, {len(self.parked or ())} parked)"


current: ContextVar[RequestCell | None] = ContextVar("cio_middleware_request", default=None)


def current_request() -> RequestCell | None:
    """The request that this code runs for; None outside of one."""
    return current.get()


@dataclass(frozen=True, slots=True)
class Overlay:
    """Attributes and a person for every event inside a `with bound(...)`."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    identity: Identity | None = None


overlay: ContextVar[Overlay | None] = ContextVar("cio_middleware_bound", default=None)


class bound:  # noqa: N801 - read as a verb: with cio.bound(...)
    """
    Attributes and a person for all events inside the block; an event's own win.

    Blocks nest: the inner one adds to the outer. Works for sync and async code, and travels into tasks that are started
    inside.

    Args:
        attributes: A mapping that is added to every event.
        person: The workspace's id as a string or an int, or an `Identity`.

    Raises:
        InvalidEvent: the person is none.
    """

    def __init__(
        self, attributes: Mapping[str, Any] | None = None, *, person: str | int | Identity | None = None
    ) -> None:
        self._attributes = dict(attributes or {})
        self._identity = None if person is None else Identity.of(person)
        self._tokens: list[Token[Overlay | None]] = []

    def __enter__(self) -> None:
        outer = overlay.get() or Overlay()
        inner = Overlay({**outer.attributes, **self._attributes}, self._identity or outer.identity)
        self._tokens.append(overlay.set(inner))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        overlay.reset(self._tokens.pop())
