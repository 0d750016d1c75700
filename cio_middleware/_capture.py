"""
From a call to a pending event: time and id fixed, names checked, attributes turned into bytes, the person found.

Every capture ends here in one of three ways, and the ledger knows which: an event that goes on now, one that is parked
with its request, or one that is dropped with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from opentelemetry.trace import Span

from . import _telemetry, _values
from ._context import Overlay, RequestCell, current, overlay
from ._dispatch import Dispatch, Packed
from ._events import Envelope, Event, Identity, Kind
from ._fork import WATCH
from ._ids import Clock, Ulids
from ._parking import Parking
from ._person import Named, People
from ._stats import DropReason, Ledger
from ._telemetry import Telemetry
from .exceptions import InvalidEvent
from .wire import limits, track, verbs

_EMPTY: Mapping[str, Any] = {}


class Typed(Protocol):
    """Makes a name and attributes of a typed event, and checks both against a catalog, if there is one."""

    has_catalog: bool

    def settle(self, given: object, attributes: object) -> tuple[Any, Any]:
        """The name and the attributes; raises `InvalidEvent` for what must not be sent."""
        ...


class Capture:
    """Makes the events of one client. `stamps` adds `_updated_at`, `stamp_queued` adds `_queued_at`."""

    def __init__(  # noqa: PLR0913 - the composition root fills them in, once
        self,
        *,
        ulids: Ulids,
        clock: Clock,
        ledger: Ledger,
        telemetry: Telemetry,
        people: People,
        dispatch: Dispatch,
        parking: Parking,
        stamps: bool,
        stamp_queued: bool,
        typed: Typed,
    ) -> None:
        self._mint = ulids.at
        self._time = clock.time
        self._ledger = ledger
        self._telemetry = telemetry
        self._people = people
        self._dispatch = dispatch
        self._processors, self._batched = dispatch.processors, dispatch.batched
        self._parking = parking
        self._stamps = stamps
        self._typed, self._has_catalog = typed.settle, typed.has_catalog
        self._stamp_queued = stamps and stamp_queued
        self._second, self._end = 0, b"}"
        self.closed = False

    def event(  # noqa: C901, PLR0912 - in full, and with few calls: see below
        self,
        kind: Kind,
        name: Any,
        attributes: object,
        person: object,
        anonymous_id: object,
        timestamp: object,
        event_id: str | None,
    ) -> Packed | str | None:
        """Capture an event, a page or a screen: packed to go on, the id of a parked one, or None for a dropped one."""
        # This is what an application waits for, and after a pause each call costs it a microsecond of cold caches.
        now = self._time()
        second = int(now)
        if second != self._second:
            self._tick(second)
        self._ledger.capture()
        if self.closed:
            self._dispatch.drop(DropReason.CLOSED)
            return None
        try:
            if (self._has_catalog or type(name) is not str) and kind == "event":
                name, attributes = self._typed(name, attributes)
            bound, cell = overlay.get(), current.get()
            anonymous = None
            if type(person) is str and anonymous_id is None and bound is None:
                identity: Identity | None = Identity(id=person)
            else:
                identity, anonymous = self._people.explicit(person, anonymous_id, bound)
            nobody = identity is None and anonymous is None
            if nobody and cell is not None:
                identity = self._people.known(cell)
            if kind == "event" and type(name) is str:
                name_json = limits.checked_name_json(name)
            else:
                name_json = (limits.page_name_json if kind == "page" else limits.name_json)(name)
            raw = None
            if bound is None and cell is None and type(attributes) is dict and "_queued_at" not in attributes:
                raw = _values.encode_plain(attributes, self._end)
            if raw is None:
                raw = self._encode(attributes, second, bound, cell)
            ulid = self._mint(now) if event_id is None else limits.check_event_id(event_id)
            at = second if timestamp is None else limits.unix_seconds(timestamp)
            if identity is not None and second == self._telemetry.nothing_at and not self._processors:
                # Nobody looks at the event, so it need not exist: only its bytes do.
                who = track.dump(identity)
                item = track.EVENT % (kind.encode(), who, name_json, ulid.encode(), at, raw)
                if len(item) <= self._batched:
                    return Envelope(ulid, kind, "batch", track.lane(who), now), item, None
            event = Event(kind, ulid, name, at, raw, identity, anonymous)
            span, carrier = self._telemetry.create(event, now)
        except BaseException as error:  # noqa: BLE001 - see _failed
            self._failed(error)
            return None
        if nobody and identity is None and cell is not None:
            return self._of_nobody(cell, event, now, carrier, span)
        return self._dispatch.pack(event, now, carrier, span)

    def identify(self, named: Named, attributes: object, timestamp: object) -> Packed | None:
        """Capture what is known about a person; None when there is nothing to send, or it was dropped."""
        now = self._begin()
        if now is None:
            return None
        if named.problem is not None:
            self._failed(named.problem)
            return None
        if named.identity is None:
            self._dispatch.drop(DropReason.NO_IDENTITY)
            return None
        try:
            event = self._profile(named.identity, attributes, named.link, timestamp, now)
            span, carrier = self._telemetry.create(event, now)
        except BaseException as error:  # noqa: BLE001 - see _failed
            self._failed(error)
            return None
        return self._dispatch.pack(event, now, carrier, span)

    def verb(self, form: Callable[[str, int], verbs.Form], attributes: object) -> Packed | None:
        """Capture what has a form of its own, made with its id and time (Unix seconds); None when it was dropped."""
        now = self._begin()
        if now is None:
            return None
        try:
            event_id, at = self._mint(now), int(now)
            made = form(event_id, at)
            raw = self._described(attributes) if made.after else b""
            event = Event(made.kind, event_id, "", at, raw, made.person)
            span, carrier = self._telemetry.create(event, now)
        except BaseException as error:  # noqa: BLE001 - see _failed
            self._failed(error)
            return None
        return self._dispatch.pack(event, now, carrier, span, made)

    def nothing(self) -> None:
        """Count an event whose attributes could not be made; whoever calls this says in the log why."""
        if self._begin() is not None:
            self._ledger.drop(DropReason.CALLABLE_FAILED)

    def _of_nobody(
        self, cell: RequestCell, event: Event, now: float, carrier: Any, span: Span | None
    ) -> Packed | str | None:
        """An event of a request whose person is not known yet: parked, or about the browser."""
        if cell.parks and cell.client.parking is self._parking:
            if span is not None:
                _telemetry.end(span)
            self._parking.park(cell, event, now, carrier)
            return event.event_id
        return self._dispatch.pack(event.about(None, cell.browser()), now, carrier, span)

    def _tick(self, second: int) -> None:
        """Another second has begun: what need not be done for every event is done now."""
        # In this order: another thread that finds the second begun must find its stamp, too.
        self._end = b',"_queued_at":%d}' % second if self._stamp_queued else b"}"
        self._second = second
        # A fork that went past Python's hooks is noticed here; the system call is too slow for every event.
        WATCH.in_child()
        # Backends without a worker have nobody else to look after what is parked for too long.
        self._parking.sweep()

    def _begin(self) -> float | None:
        """Count a capture. Returns its time, in Unix seconds; None when the client is closed."""
        now = self._time()
        if int(now) != self._second:
            self._tick(int(now))
        self._ledger.capture()
        if self.closed:
            self._dispatch.drop(DropReason.CLOSED)
            return None
        return now

    def _encode(self, attributes: object, now: int, bound: Overlay | None, cell: RequestCell | None) -> bytes:
        """The attributes of an event as bytes: bound ones below the caller's own, then the stamp and the context."""
        values: Mapping[Any, Any] = attributes if type(attributes) is dict else _mapping(attributes)
        if bound is not None and bound.attributes:
            values = {**bound.attributes, **values}
        raw = _values.encode_plain(values)
        if raw is None:
            encoded = _values.encode(values)
            self._ledger.note_values(encoded.replaced, encoded.not_finite)
            raw = encoded.json
        if cell is not None and "context" not in values:
            raw = _values.splice(raw, b'"context":' + cell.context())
        if self._stamp_queued and "_queued_at" not in values:
            raw = _values.splice(raw, b'"_queued_at":%d' % now)
        return raw

    def _profile(
        self, identity: Identity, attributes: object, anonymous_id: str | None, timestamp: object, now: float
    ) -> Event:
        # A number that is not finite is left out, since null would delete the attribute.
        cleaned = _values.clean(_mapping(attributes), omit_not_finite=True)
        self._ledger.note_values(cleaned.replaced, cleaned.not_finite)
        values = cleaned.values
        if self._stamps:
            values.setdefault("_updated_at", int(now))
        if anonymous_id is not None:
            values["anonymous_id"] = anonymous_id
        limits.check_person_attributes(values)
        at = int(now) if timestamp is None else limits.unix_seconds(timestamp)
        return Event("identify", self._mint(now), "", at, _values.dump(values), identity, anonymous_id)

    def _described(self, attributes: object) -> bytes:
        """What is known about a device, an object or a relationship, under the limits of what is about a person."""
        cleaned = _values.clean(_mapping(attributes), omit_not_finite=True)
        self._ledger.note_values(cleaned.replaced, cleaned.not_finite)
        limits.check_person_attributes(cleaned.values)
        return _values.dump(cleaned.values)

    def _failed(self, error: BaseException) -> None:
        """Whatever the caller's values did, the event is accounted for, and only what must pass does."""
        if isinstance(error, InvalidEvent):
            self._dispatch.invalid(error)
        elif isinstance(error, Exception):
            self._dispatch.unexpected(error)
        else:
            self._ledger.drop(DropReason.CANCELLED)
            raise error


def _mapping(attributes: object) -> Mapping[Any, Any]:
    if attributes is None:
        return _EMPTY
    try:
        return _values.fields_of(attributes)
    except InvalidEvent:
        raise
    except Exception as error:  # noqa: BLE001 - a model's own code may raise anything
        message = f"the attributes could not be read: {type(error).__name__}."
        raise InvalidEvent(message) from None
