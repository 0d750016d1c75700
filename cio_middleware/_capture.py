"""
From a call to an `Event`: names checked, time and id fixed, attributes turned into bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import _values
from ._context import Overlay, RequestCell
from ._events import Event, Identity, Kind
from ._ids import Clock
from ._stats import Ledger
from .exceptions import InvalidEvent
from .wire import limits
from .wire.track import splice

_EMPTY: Mapping[str, Any] = {}


class Capture:
    """Makes the events of one client. `stamp_queued` adds `_queued_at`, `stamps` adds `_updated_at`."""

    def __init__(
        self, *, mint: Callable[[], str], clock: Clock, ledger: Ledger, stamps: bool, stamp_queued: bool
    ) -> None:
        self._mint = mint
        self._clock = clock
        self._ledger = ledger
        self._stamps = stamps
        self._stamp_queued = stamps and stamp_queued

    def event(  # noqa: PLR0913, PLR0917 - positional, because this is the hottest call of all
        self,
        kind: Kind,
        name: str,
        attributes: object,
        timestamp: object,
        event_id: str | None,
        cell: RequestCell | None,
        bound: Overlay | None,
        identity: Identity | None,
        anonymous_id: str | None,
    ) -> Event:
        """
        An event, a page or a screen; its person may be unknown so far.

        Raises:
            InvalidEvent: Customer.io would refuse or misread it.
        """
        (limits.page_name_json if kind == "page" else limits.name_json)(name)
        now = int(self._clock.time())
        at = now if timestamp is None else limits.unix_seconds(timestamp)
        values = _mapping(attributes)
        if bound is not None and bound.attributes:
            values = {**bound.attributes, **values}
        raw = _values.encode_plain(values)
        if raw is None:
            encoded = _values.encode(values)
            self._ledger.note_values(encoded.replaced, encoded.not_finite)
            raw = encoded.json
        if self._stamp_queued and "_queued_at" not in values:
            raw = splice(raw, b'"_queued_at":%d' % now)
        if cell is not None and "context" not in values:
            raw = splice(raw, b'"context":' + cell.context())
        return Event(
            kind,
            self._mint() if event_id is None else limits.check_event_id(event_id),
            name,
            at,
            raw,
            identity,
            anonymous_id,
        )

    def identify(self, identity: Identity, attributes: object, timestamp: object, anonymous_id: str | None) -> Event:
        """
        What is known about a person. A number that is not finite is left out, since null would delete the attribute.

        Raises:
            InvalidEvent: Customer.io would refuse or misread it.
        """
        cleaned = _values.clean(_mapping(attributes), omit_not_finite=True)
        self._ledger.note_values(cleaned.replaced, cleaned.not_finite)
        values = cleaned.values
        now = int(self._clock.time())
        if self._stamps:
            values.setdefault("_updated_at", now)
        if anonymous_id is not None:
            values["anonymous_id"] = anonymous_id
        limits.check_person_attributes(values)
        at = now if timestamp is None else limits.unix_seconds(timestamp)
        return Event("identify", self._mint(), "", at, _values.dump(values), identity)


def _mapping(attributes: object) -> Mapping[Any, Any]:
    if attributes is None:
        return _EMPTY
    if type(attributes) is dict:
        return attributes
    try:
        return _values.fields_of(attributes)
    except InvalidEvent:
        raise
    except Exception as error:  # noqa: BLE001 - a model's own code may raise anything
        message = f"the attributes could not be read: {type(error).__name__}."
        raise InvalidEvent(message) from None
