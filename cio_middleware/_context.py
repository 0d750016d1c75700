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

from . import _values
from ._events import Attributes, Event, Identity, Person
from .exceptions import InvalidEvent

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
        if (read := self._read_anonymous_id) is not None:
            try:
                self.anonymous_id = read(self.source)
            except Exception:  # noqa: BLE001 - a server may hand us anything; one without an id is a browser that is unknown
                self.anonymous_id = None
            self._read_anonymous_id = None
        return self.anonymous_id

    def __repr__(self) -> str:
        known = "known" if self.identity is not None else "unknown"
        return f"RequestCell(person {known}, {len(self.parked or ())} parked)"


current: ContextVar[RequestCell | None] = ContextVar("cio_middleware_request", default=None)


def leave(token: Token[RequestCell | None]) -> None:
    """Put back what was current. A coroutine that Python throws away ends in a context that it never ran in."""
    try:
        current.reset(token)
    except ValueError:
        return


def current_request() -> RequestCell | None:
    """The request that this code runs for; None outside of one."""
    return current.get()


@dataclass(frozen=True, slots=True)
class Overlay:
    """
    Attributes and a person for every event inside a `with bound(...)`, on top of the block around it.

    `problem` is what was wrong with them: it is the event's problem, found when there is one.
    """

    owner: object
    outer: Overlay | None
    attributes: Mapping[Any, Any] = field(repr=False)
    identity: Identity | None
    problem: str | None


overlay: ContextVar[Overlay | None] = ContextVar("cio_middleware_bound", default=None)


class bound:  # noqa: N801 - read as a verb: with cio.bound(...)
    """
    Attributes and a person for all events inside the block; an event's own win.

    Blocks nest: the inner one adds to the outer. Works for sync and async code, and travels into tasks that are started
    inside. One that cannot be used does not raise here; the events inside are dropped as invalid, and `debug` raises.

    Args:
        attributes: What is added to every event; anything that `Client.track` takes.
        person: The workspace's id as a string or an int, or an `Identity`.
    """

    def __init__(self, attributes: Attributes | None = None, *, person: Person | None = None) -> None:
        self._attributes: Mapping[Any, Any] = {}
        self._identity: Identity | None = None
        self._problem: str | None = None
        try:
            if attributes is not None:
                self._attributes = dict(_values.fields_of(attributes))
            self._identity = None if person is None else Identity.of(person)
        except InvalidEvent as error:
            self._problem = str(error)
        except Exception as error:  # noqa: BLE001 - the application's object may raise anything
            self._problem = f"the attributes or the person of bound() raised {type(error).__name__}."

    def __enter__(self) -> None:
        outer = overlay.get()
        attributes, identity, problem = self._attributes, self._identity, self._problem
        if outer is not None:
            attributes = {**outer.attributes, **attributes}
            identity = identity or outer.identity
            problem = problem or outer.problem
        overlay.set(Overlay(self, outer, attributes, identity, problem))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # No token: one block may be open in several threads, and a generator may be closed in a context that never
        # entered it.
        here = overlay.get()
        if here is not None and here.owner is self:
            overlay.set(here.outer)
