"""
What others implement, and what they hand in: the Protocols and the aliases of this package.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypedDict, runtime_checkable

import msgspec

from ._context import RequestCell
from ._events import Attributes, Entry, Envelope, Event, Person, Receipt, Timestamp
from ._stats import DropReason

__all__ = [
    "About",
    "Answer",
    "AsyncHTTPClient",
    "AsyncTransport",
    "Attributes",
    "Backend",
    "DeadLetter",
    "Entry",
    "Envelope",
    "Failure",
    "Front",
    "HTTPClient",
    "KeptLetters",
    "Lease",
    "Observer",
    "Person",
    "PersonResolver",
    "Processor",
    "Queue",
    "Receipt",
    "Refusal",
    "Request",
    "Response",
    "Timestamp",
    "Transport",
]


class About(TypedDict, total=False):
    """
    Whom an event is about, and when: what `Client.track` and the verbs like it take by name.

    A function of your own that ends in one of them takes `**about: Unpack[About]` and hands it on.
    """

    person: Person | None
    """Who. Default: `bound()`, else the request's person, else its anonymous id."""
    anonymous_id: str | None
    """A browser, when nobody is signed in."""
    timestamp: Timestamp | None
    """When, as Unix seconds or a datetime. Default: now."""
    event_id: str | None
    """A ULID of your own, if the event may be captured twice."""


PersonResolver = Callable[[RequestCell], "Person | Awaitable[Person | None] | None"]
"""Says who a request belongs to. None means: nobody known."""

Processor = Callable[[Event], Event | DropReason | None]
"""Looks at an event before it goes on: returns it, another one, or a reason to drop it; None is `processor`."""


class HTTPClient(Protocol):
    """What is needed of `httpx.Client` or `httpx2.Client`; a Protocol, so that neither must be imported to type it."""

    def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        auth: Callable[[Any], Any],
        timeout: float,
        follow_redirects: bool,
    ) -> AbstractContextManager[Any]:
        """Sends the request and yields the response, unread."""
        ...


class AsyncHTTPClient(Protocol):
    """The same of `httpx.AsyncClient` or `httpx2.AsyncClient`."""

    def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        auth: Callable[[Any], Any],
        timeout: float,
        follow_redirects: bool,
    ) -> AbstractAsyncContextManager[Any]:
        """Sends the request and yields the response, unread."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """
    One HTTP call, credentials left out. `path` starts with a slash; `template` is the path without ids, for spans.

    `count` is the number of events in it, None when it is no batch.
    """

    path: str
    template: str
    body: bytes
    count: int | None = None

    def __repr__(self) -> str:
        return f"Request({self.template}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True)
class Response:
    """
    What came back.

    Header names are lower case, `body` holds at most 64 KiB of what was sent, `received_at` is Unix seconds.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float = 0.0

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True)
class Failure:
    """
    No answer came, so Customer.io may or may not have the events. `error` is the qualified name of what went wrong.

    ``ssl.SSLCertVerificationError`` is told apart: nothing was sent, and somebody must change something.
    """

    error: str


Answer = Response | Failure


class Transport(Protocol):
    """
    Makes one HTTP call. Never raises for what a network or a server does, and keeps the deadline whatever they do.
    """

    def send(self, base_url: str, request: Request, timeout: float) -> Answer:
        """One POST; `timeout` seconds from connecting to the last byte read."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


class AsyncTransport(Protocol):
    """The same, awaited."""

    async def send(self, base_url: str, request: Request, timeout: float) -> Answer:  # noqa: ASYNC109 - the contract
        """One POST; `timeout` seconds from connecting to the last byte read."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Why an event was refused, in Customer.io's words (TRACK-SPEC, 207: `reason`, `field`, `message`).

    They may quote the event, so neither `str` nor the repr shows them; `text` is all of them in a line.
    """

    reason: str
    field: str = ""
    message: str = ""

    @property
    def text(self) -> str:
        """What there is of them, in a line."""
        return ": ".join(part for part in (self.reason, self.field, self.message) if part)

    def __repr__(self) -> str:
        return "Refusal(...)"

    def __rich_repr__(self) -> Any:
        yield ...


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that Customer.io refused, why, and when (Unix seconds)."""

    envelope: Envelope
    item: bytes
    why: Refusal
    refused_at: float

    def __repr__(self) -> str:
        return f"DeadLetter({self.envelope.event_id})"


class KeptLetters(Collection[DeadLetter], Protocol):
    """Dead letters where they are kept, oldest first."""

    def remove(self, event_ids: Collection[str] | None = None, *, until: float = math.inf) -> int:
        """
        Forget letters, all by default, that were refused until then (Unix seconds). Returns how many.

        Raises:
            OSError: the disk does not allow it.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """Events handed out for delivery, oldest first. They stay in the queue's count until each is settled."""

    entries: Sequence[Entry]

    def __repr__(self) -> str:
        return f"Lease({len(self.entries)} events)"


class Front(NamedTuple):
    """
    What a queue could lease now: at most so many events; the first one's place, and when it was put (monotonic clock).

    Until a lease has looked at them, events that their lane holds back are among these.
    """

    events: int
    place: int
    at: float


class Queue(Protocol):
    """
    Where events wait. Every method is called from any thread.

    Every event has a place in the order of puts, counted from 0. The queue tells the ledger what it settles.

    However many leases are out at once:

    - The events of one lane (`Envelope.lane`) leave in the order of put: they are never on two leases at once, and what
      was put after an event that is out, or that came back, waits for it.
    - What was put before an event of `ALL_LANES` is settled, or on its lease, before it leaves; while its lease is not
      settled, there is no other.
    - At most `max_in_flight` leases hold an event at or past `head`, settled or not. So a queue that outlives its
      process, and remembers no more than `head`, repeats at most that many batches after a kill. A batch that came back
      is the same one when it goes out again. An event that its lane holds back keeps `head` where it is, like one that
      is out: a single lane with a long backlog costs the others their place beside it, never the bound.
    """

    blocks: bool
    """Whether `put` may hold a caller up when the queue is full."""
    is_shared: bool
    """Whether events outlive the process: others may have left some here, and find what this one leaves."""
    kept: int
    """How many events outlived it, once it is abandoned."""

    @property
    def depth(self) -> int:
        """Events that wait and are not leased."""
        ...

    @property
    def oldest(self) -> float | None:
        """When the oldest of them was put, on the monotonic clock."""
        ...

    @property
    def front(self) -> Front | None:
        """What could be leased now; None when nothing could, because nothing waits or because of what is out."""
        ...

    @property
    def head(self) -> int:
        """The place of the first event that is not settled; `tail` when all are."""
        ...

    @property
    def tail(self) -> int:
        """The place that the next event will have."""
        ...

    @property
    def urgent(self) -> bool:
        """Whether waiting for more events is no use: the queue is half full."""
        ...

    @property
    def dead_letters(self) -> KeptLetters:
        """What Customer.io refused."""
        ...

    def put(self, envelope: Envelope, item: bytes, *, may_block: bool = False, may_wait: bool = True) -> Receipt:
        """
        Take an event, or say why not. Never waits on a network.

        `may_wait=False` is said by who holds a lock that others want in the middle of a put: no lock may be waited for.
        """
        ...

    def holds(self, item: bytes) -> bool:
        """Whether an event with this very item is waiting or leased; for a `put` that was interrupted."""
        ...

    def lease(self, max_events: int, max_bytes: int) -> Lease | None:
        """
        Hand out the oldest events that may leave and fit one request; None when there are none.

        Also None, now and then, in the middle of a long look for some: then `front` is not None.
        """
        ...

    def ack(self, lease: Lease, indexes: Sequence[int]) -> int:
        """These were delivered. Returns how many of them the queue still held."""
        ...

    def tend(self, *, closing: bool) -> float:
        """
        Look after what other processes left, where the queue is shared; when closing, leave that to others.

        Returns the seconds until the next time.
        """
        ...

    def nack(self, lease: Lease) -> None:
        """Take what is not settled back, in its old place: it goes out again before anything newer of its lanes."""
        ...

    def drop(self, lease: Lease, indexes: Sequence[int], reason: DropReason) -> int:
        """Give these up. Returns how many of them the queue still held."""
        ...

    def dead_letter(self, lease: Lease, index: int, why: Refusal) -> bool:
        """Keep this one aside with Customer.io's reason. Returns whether the queue still held it."""
        ...

    def purge(self, who: bytes) -> None:
        """
        What waits for whom these identifiers name, as the wire has them, is dropped when its turn comes.

        Raises:
            OSError: other processes cannot be told.
        """
        ...

    def is_purged(self, entry: Entry) -> bool:
        """Whether this one must not be sent any more."""
        ...

    def abandon(self, reason: DropReason, *, within: float = 2.0) -> int:
        """The process ends: give up what would be lost with it, and take no more. Returns how many events that were."""
        ...


class Observer(Protocol):
    """
    Is told each stage of an event. Called from any thread, in the middle of a capture: must neither wait nor raise.

    The stages are ``captured``, ``queued`` or ``spooled``, ``sent#1``, ``replied`` and ``settled``; or ``never_sent``.
    """

    def note(self, event_ids: Sequence[str | None], record: dict[str, Any], *, urgent: bool = False) -> None:
        """These events are at this stage; the record is the observer's to keep. `urgent`: one was given up unsent."""
        ...

    def met(self, headers: Mapping[str, str]) -> None:
        """The headers of an answer, with names in lower case."""
        ...


@runtime_checkable
class Backend(Protocol):
    """What happens to a captured event."""

    def emit(self, envelope: Envelope, item: bytes) -> Receipt:
        """Take an event, or say why not. Must not raise and must not wait on a network."""
        ...

    def flush(self, timeout: float) -> bool:
        """Wait until everything emitted before the call is settled; False when `timeout` seconds were not enough."""
        ...

    def close(self, timeout: float) -> None:
        """Settle everything, by dropping what cannot be delivered in `timeout` seconds."""
        ...
