"""
The client: captures an event, finds its person, and sends it on.

No verb raises into the application, except what `debug` and `on_error="raise"` ask for.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from . import _assembly
from ._context import RequestCell, current, overlay
from ._discreet import RAISED, bare, discreet
from ._dispatch import Packed
from ._events import Identity, Kind
from ._ids import Clock
from ._letters import DeadLetters
from ._person import Named
from ._settings import Settings, hide_key
from ._stats import Stats
from ._verbs import Verbs
from .backends._exit import at_exit
from .backends.queued import on_a_loop
from .catalog import Catalog, EventType, check_catalog
from .exceptions import ClosedError, ConfigurationError, InvalidEvent
from .typing import About, AsyncHTTPClient, Attributes, HTTPClient, Person, Processor, Timestamp
from .wire import track

Result = TypeVar("Result")
if TYPE_CHECKING:
    # Type checkers know it, and a default spares those who have no class for their users the brackets (PEP 696).
    from typing_extensions import TypeVar as _TypeVar

    UserAttributes = _TypeVar("UserAttributes", bound=Attributes, default=Attributes)
else:
    UserAttributes = TypeVar("UserAttributes")


class Client(Verbs, Generic[UserAttributes]):
    """
    Captures events and sees to their delivery. Safe to share between threads, event loops and forked children.

    `Client[UserAttributes]` has `identify` checked by type checkers against a TypedDict, a dataclass or a Struct.

    Args:
        settings: See `Settings`; read from the environment by default.
        processors: Called in this order on every event before it goes on; each returns the event, another one, or None
            to drop it. One that raises drops the event, since it may have been there to redact it.
        catalog: The events of the application, which each `track` is checked against.
        http_client: An `httpx.Client` or `httpx2.Client` to send with; it stays its owner's to close.
        async_http_client: The same for the async verbs of the direct backend.
        tracer_provider: Where spans go; the global one by default.
        meter_provider: Where metrics go; the global one by default.
        clock: The time, for tests.

    Raises:
        ConfigurationError: a setting is missing or wrong; the message says what to type.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        processors: Iterable[Processor] = (),
        catalog: Catalog | None = None,
        http_client: HTTPClient | None = None,
        async_http_client: AsyncHTTPClient | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        clock: Clock | None = None,
    ) -> None:
        if settings is not None and not isinstance(settings, Settings):
            # By its type's name alone: a traceback may be printed with the locals of its frames.
            given, settings = type(settings).__name__, None
            message = f"Client() takes Settings, not a {given}. Type Client.from_env(site_id=..., api_key=...)."
            raise ConfigurationError(message)
        self.settings = settings or Settings.from_env()
        self._parts = _assembly.assemble(
            self.settings,
            processors=_callables(processors),
            catalog=check_catalog(catalog),
            http_client=http_client,
            async_http_client=async_http_client,
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            clock=clock,
        )
        self._capture = self._parts.capture
        # For the middlewares, which settle what their requests have parked.
        self.parking = self._parts.parking
        # For the middleware that sees the end of a lifespan, which is the first step of a shutdown.
        self.shutdown = self._parts.shutdown
        self._closed = False
        # Weakly: who has lost the last reference to a client has lost it. The queue closes itself, for what it holds.
        self._forget_exit = at_exit(self, lambda client: client.close())

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """A client from `CUSTOMERIO_*`, with single settings overridden."""
        hide_key(overrides)
        return cls(Settings.from_env(**overrides))

    # In full, and with no call between: this is what an application waits for.
    def track(
        self,
        name: str | EventType,
        attributes: Attributes | None = None,
        *,
        person: Person | None = None,
        anonymous_id: str | None = None,
        timestamp: Timestamp | None = None,
        event_id: str | None = None,
    ) -> str | None:
        """
        Capture that a person did something.

        Args:
            name: What happened, at most 100 bytes; fixed, with what changes in `attributes`. An `EventType` stands in
                place of both.
            attributes: A mapping, a dataclass, an attrs or msgspec object, or a pydantic model. Its values become
                bytes now.
            person: Who. Default: `bound()`, else the request's person, else its anonymous id.
            anonymous_id: A browser, when nobody is signed in.
            timestamp: When, as Unix seconds or a datetime. Default: now.
            event_id: A ULID of your own, if the event may be captured twice.

        Returns:
            The event's ULID; None when it was not captured, which `stats()` counts by reason.

        Raises:
            InvalidEvent: with `debug` only.
            DeliveryError: on the direct backend with `on_error="raise"` only.
        """
        packed: Packed | str | None = None
        try:
            packed = self._capture.event("event", name, attributes, person, anonymous_id, timestamp, event_id)
            return self._parts.dispatch.send(*packed) if isinstance(packed, tuple) else packed
        except RAISED as error:
            # As `discreet` does it, which would cost a call.
            del name, attributes, person, anonymous_id, timestamp, event_id, packed
            raise bare(error) from None

    @discreet
    def page(self, name: str, attributes: Attributes | None = None, **about: Unpack[About]) -> str | None:
        """Capture that a person saw a page; `name` is its URL. The rest as for `track`."""
        return self._send(self._capture.event("page", name, attributes, *_in_order(**about)))

    @discreet
    def screen(self, name: str, attributes: Attributes | None = None, **about: Unpack[About]) -> str | None:
        """Capture that a person saw a screen of an app. The rest as for `track`."""
        return self._send(self._capture.event("screen", name, attributes, *_in_order(**about)))

    @discreet
    def identify(
        self,
        person: Person | None = None,
        attributes: UserAttributes | None = None,
        *,
        anonymous_id: str | None = None,
        timestamp: Timestamp | None = None,
    ) -> str | None:
        """
        Say who a person is, and what is known about them.

        Inside a request this also makes them the request's person, for events captured before and after. Without
        attributes it does only that, unless there is an anonymous id to link.

        Args:
            person: Who. Default: `bound()`, else the request's person.
            attributes: As for `track`. None as a value deletes the attribute in Customer.io.
            anonymous_id: Whose earlier events become this person's. Default: the one that the browser brought.
            timestamp: When this was true, so that a late delivery does not overwrite something newer. Default: now.

        Returns:
            The ULID of what was sent; None when nothing was.

        Raises:
            InvalidEvent: with `debug` only.
            DeliveryError: on the direct backend with `on_error="raise"` only.
        """
        who = self._parts.people.named(self._cell(), person, anonymous_id, overlay.get())
        sent = None
        try:
            sent = self._send(self._identified(who, attributes, timestamp))
        finally:
            # Only now: what another thread settles meanwhile must not overtake this.
            if (cell := self._parts.people.bind(self._cell(), person, who, sent)) is not None:
                self.parking.release(cell)
        return sent

    def flush(self, timeout: float | None = None) -> bool:
        """
        Send what is queued and wait for it. Inside a request, its parked events are settled first.

        On an event loop's thread this blocks the loop, and says so in the log: `await client.aflush()` does not.

        Args:
            timeout: Seconds to wait; None means `Settings.shutdown_timeout`. Retries in progress go on after this
                returns.

        Returns:
            True when nothing captured before the call is pending any more, whether it was delivered, dead-lettered or
            dropped.

        Raises:
            ClosedError: after `close`.
        """
        self._check_open()
        if on_a_loop():
            self._parts.notices.trouble(
                "flush", "loop", "flush() was called on an event loop's thread and blocks it: await client.aflush()."
            )
        if (cell := self._cell()) is not None:
            self.parking.settle(cell)
        return self._wait(timeout)

    def close(self, timeout: float | None = None) -> Stats:
        """
        Deliver what is left, for at most `timeout` seconds, and stop.

        What is not delivered by then is dropped{shutdown_timeout}; on a spool it stays for another process. Runs by
        itself when the interpreter exits, unless nobody has the client any more.

        Args:
            timeout: Seconds to wait; None means what an ASGI lifespan that has just ended left of
                `Settings.shutdown_timeout`, which is all of it when there was none.

        Returns:
            The final ledger.
        """
        backend, first = self._parts.backend, not self._closed
        self._closed = self._capture.closed = True
        if first:
            self._forget_exit()
            self.parking.empty()
        # Our own backends take a second closer, who waits for the first.
        if first or getattr(backend, "settles", False):
            try:
                with self.shutdown.step() as left:
                    backend.close(left if timeout is None else timeout)
            except Exception as error:  # noqa: BLE001 - as above
                self._backend_failed("close", error)
        if first and self._parts.report is not None:
            self._parts.report.close()
        return self.stats()

    def begin(self) -> None:
        """For a server that starts: its end has all of `shutdown_timeout`; what dead processes left is taken over."""
        # An application that a test starts again and again has as much time at each of its ends.
        self.shutdown.call_off()
        begin = getattr(self._parts.backend, "begin", None)
        if begin is not None:
            try:
                begin()
            except Exception as error:  # noqa: BLE001 - a foreign backend may have such a method, and mean another thing
                self._backend_failed("begin", error)

    def stats(self) -> Stats:
        """Where every captured event is, in one consistent reading."""
        return self._parts.ledger.read()

    def drop_call(self) -> None:
        """For `@track_event`: count an event that could not be made, because the application's own callable failed."""
        self._capture.nothing()

    @property
    def dead_letters(self) -> DeadLetters:
        """What Customer.io refused: to be listed, exported, replayed, dropped."""
        kept = getattr(self._parts.backend, "dead_letters", None)
        return DeadLetters(kept, self._parts.backend.emit, self._parts.ledger, self._parts.clock)

    @discreet
    def purge(self, person: Person | None = None, *, anonymous_id: str | None = None) -> None:
        """
        Send nothing more that was captured of somebody until now, and forget their dead letters.

        What waits is dropped{purged} when its turn comes; on a spool, other processes hear of it within seconds. A
        request that is under way arrives. People at Customer.io are deleted there.

        Args:
            person: An identifier of theirs; call it for each one that your events use.
            anonymous_id: A browser's.

        Raises:
            InvalidEvent: nobody is named, or both.
            OSError: the disk of a spool does not take it, so other processes and the next start do not know.
        """
        if (person is None) is (anonymous_id is None):
            message = "purge() takes a person, or an anonymous_id."
            raise InvalidEvent(message)
        who = track.identifiers(None if person is None else Identity.of(person), anonymous_id)
        purge = getattr(self._parts.backend, "purge", None)
        if purge is not None:
            purge(who)
        self.dead_letters.drop(self.dead_letters.of(who))

    @discreet
    async def atrack(
        self, name: str | EventType, attributes: Attributes | None = None, **about: Unpack[About]
    ) -> str | None:
        """
        `track`, awaited. On the direct backend the delivery is over when this returns; on the queue it is the same.
        """
        return await self._aevent("event", name, attributes, about)

    @discreet
    async def apage(self, name: str, attributes: Attributes | None = None, **about: Unpack[About]) -> str | None:
        """`page`, awaited."""
        return await self._aevent("page", name, attributes, about)

    @discreet
    async def ascreen(self, name: str, attributes: Attributes | None = None, **about: Unpack[About]) -> str | None:
        """`screen`, awaited."""
        return await self._aevent("screen", name, attributes, about)

    @discreet
    async def aidentify(
        self,
        person: Person | None = None,
        attributes: UserAttributes | None = None,
        *,
        anonymous_id: str | None = None,
        timestamp: Timestamp | None = None,
    ) -> str | None:
        """`identify`, awaited."""
        who = self._parts.people.named(self._cell(), person, anonymous_id, overlay.get())
        sent = None
        try:
            sent = await self._asend(self._identified(who, attributes, timestamp))
        finally:
            if (cell := self._parts.people.bind(self._cell(), person, who, sent)) is not None:
                await self.parking.asettle(cell)
        return sent

    async def aflush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as `flush` has it
        """`flush`, without blocking the event loop."""
        self._check_open()
        if (cell := self._cell()) is not None:
            await self.parking.asettle(cell)
        return await _in_a_thread(self._wait, timeout)

    async def aclose(self, timeout: float | None = None) -> Stats:  # noqa: ASYNC109 - as `close` has it
        """`close`, without blocking the event loop."""
        aclose = getattr(self._parts.backend, "aclose", None)
        if aclose is not None:
            try:
                await aclose()
            except Exception as error:  # noqa: BLE001 - as above
                self._backend_failed("aclose", error)
        return await _in_a_thread(self.close, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if not hasattr(self, "_closed"):
            return "Client(not made)"  # a traceback may show one whose construction failed
        return f"Client(backend={type(self._parts.backend).__name__}, {'closed' if self._closed else 'open'})"

    def _identified(self, named: Named, attributes: Attributes | None, timestamp: Timestamp | None) -> Packed | None:
        if named.identity is not None and attributes is None and named.link is None and self._cell() is not None:
            return None  # it only says whose request this is
        return self._capture.identify(named, attributes, timestamp)

    async def _aevent(
        self, kind: Kind, name: str | EventType, attributes: Attributes | None, about: About
    ) -> str | None:
        person, anonymous_id, timestamp, event_id = _in_order(**about)
        if person is None and anonymous_id is None:
            await self._parts.people.meet(current.get())
        packed = self._capture.event(kind, name, attributes, person, anonymous_id, timestamp, event_id)
        return await self._asend(packed)

    def _send(self, packed: Packed | str | None) -> str | None:
        return self._parts.dispatch.send(*packed) if isinstance(packed, tuple) else packed

    async def _asend(self, packed: Packed | str | None) -> str | None:
        return await self._parts.dispatch.asend(*packed) if isinstance(packed, tuple) else packed

    def _cell(self) -> RequestCell | None:
        cell = current.get()
        return cell if cell is not None and cell.client is self else None

    def _check_open(self) -> None:
        if self._closed:
            message = "flush() after close(): the client is closed, and what it held is settled."
            raise ClosedError(message)

    def _wait(self, timeout: float | None) -> bool:
        try:
            return bool(self._parts.backend.flush(self.settings.shutdown_timeout if timeout is None else timeout))
        except Exception as error:  # noqa: BLE001 - a foreign backend may break its contract
            self._backend_failed("flush", error)
            return False

    def _backend_failed(self, method: str, error: Exception) -> None:
        backend, what = type(self._parts.backend).__name__, type(error).__name__
        self._parts.notices.trouble(f"backend {method}", what, "backend %s raised %s in %s()", backend, what, method)


async def _in_a_thread(call: Callable[[float | None], Result], timeout: float | None) -> Result:  # noqa: ASYNC109 - it is passed on
    import asyncio

    context = contextvars.copy_context()
    try:
        done = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(call, timeout))
    except RuntimeError:
        # The interpreter is exiting, or the loop is being closed: no thread can be had, and little is left to block.
        return call(timeout)
    return await done


def _in_order(
    *,
    person: Person | None = None,
    anonymous_id: str | None = None,
    timestamp: Timestamp | None = None,
    event_id: str | None = None,
) -> tuple[Person | None, str | None, Timestamp | None, str | None]:
    """`About`, as `Capture.event` takes it. A name that is none of these is a TypeError, as for any function."""
    return person, anonymous_id, timestamp, event_id


def _callables(processors: Any) -> tuple[Processor, ...]:
    try:
        found = tuple(processors)
    except TypeError:
        message = f"processors is a {type(processors).__name__}: type a list of callables, processors=[...]."
        raise ConfigurationError(message) from None
    for processor in found:
        if not callable(processor):
            message = f"processors holds a {type(processor).__name__}: type a list of callables, processors=[...]."
            raise ConfigurationError(message)
    return found
