"""
Events as Track items, and items as requests (TRACK-SPEC, v2 `batch` and v1 `events`).

An item is encoded once, at capture, in the form of a v2 batch item; a batch is a join of items. What only v1 takes is
derived from its item at sending, which gives the same bytes at every retry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote
from zlib import crc32

import msgspec

from .. import _values
from .._events import Event, Identity, Route
from ..typing import Entry, Request
from . import limits

BATCH_PATH = "/api/v2/batch"
_OPEN, _CLOSE = b'{"batch":[', b"]}"
BATCH_OVERHEAD = len(_OPEN) + len(_CLOSE)

dump = msgspec.json.encode


EVENT = b'{"type":"person","action":"%b","identifiers":%b,"name":%b,"id":"%b","timestamp":%d,"attributes":%b}'
"""An event, page or screen as a v2 batch item, to be filled with values that are JSON already."""

lane = crc32
"""From an event's identifiers to a number that all events of one identifier share."""


def identifiers(identity: Identity | None, anonymous_id: str | None) -> bytes:
    """Who an event is about, as the wire has it."""
    return dump(identity) if identity is not None else dump({"anonymous_id": _values.text(str(anonymous_id))})


def item(event: Event, who: bytes) -> bytes:
    """The event as a v2 batch item; `who` comes from `identifiers`."""
    if event.kind == "identify":
        return b'{"type":"person","action":"identify","identifiers":%b,"timestamp":%d,"attributes":%b}' % (
            who,
            event.timestamp,
            event.attributes_json,
        )
    # Names are looked at again, because a processor may have put anything there.
    name = limits.page_name_json(event.name) if event.kind == "page" else limits.name_json(event.name)
    event_id = event.event_id.encode()
    return EVENT % (event.kind.encode(), who, name, event_id, event.timestamp, event.attributes_json)


def route(event: Event, size: int, anonymous_via: str, max_event_bytes: int) -> Route:
    """
    How an item of this size travels: with others in a v2 batch, or alone by v1.

    Raises:
        EventTooLarge: only a track event of a known person may exceed 32,000 bytes, because only v1 takes more, and
            only there (TRACK-SPEC: event data up to 100,000 bytes).
    """
    identity = event.identity
    if identity is None and anonymous_via == "v1":
        limits.check_size(size, min(limits.ITEM_BYTES, max_event_bytes), event.kind)
        return "single"
    if size <= min(limits.ITEM_BYTES, max_event_bytes):
        return "batch"
    if event.kind != "event" or identity is None or not _v1_names(*identity.key):
        limits.check_size(size, min(limits.ITEM_BYTES, max_event_bytes), event.kind)
    limits.check_size(size, min(limits.EVENT_DATA_BYTES, max_event_bytes), event.kind)
    return "single"


def _v1_names(field: str, value: str) -> bool:
    """
    Whether the path of a v1 call names this person and nobody else.

    It tells the kind of an identifier by its shape alone (TRACK-SPEC, path parameters), and a dot or two would be taken
    for a step in the path. A server may find no route for a path with a line break in it, and its 404 would hold up
    all other events.
    """
    shape = "cio_id" if value.startswith("cio_") else "email" if "@" in value else "id"
    return value.isprintable() and (field == "cio_id" or (field == shape and value not in {".", ".."}))


def batch(entries: Sequence[Entry]) -> Request:
    """One request for many items: a join of bytes, nothing is encoded again."""
    body = _OPEN + b",".join([entry[1] for entry in entries]) + _CLOSE
    return Request(BATCH_PATH, BATCH_PATH, body, len(entries))


class _Item(msgspec.Struct):
    """What v1 needs of an item. Attributes stay bytes, so that a Decimal arrives with all of its digits."""

    action: str
    identifiers: dict[str, str]
    name: msgspec.Raw
    id: str
    timestamp: int
    attributes: msgspec.Raw

    def __repr__(self) -> str:
        return f"_Item({self.id})"


_read_item = msgspec.json.Decoder(_Item).decode


def single(entry: Entry) -> Request:
    """The v1 call for an item that cannot travel in a batch."""
    item_ = _read_item(entry[1])
    body = {
        "name": item_.name,
        "id": item_.id,
        "timestamp": item_.timestamp,
        "type": item_.action,
        "data": item_.attributes,
    }
    field, value = next(iter(item_.identifiers.items()))
    if field == "recipient":
        # Somebody who is no person yet; the data says where the campaign's message goes (TRACK-SPEC, invite events).
        data = msgspec.Raw(_values.splice(bytes(item_.attributes), b'"recipient":%b' % dump(value)))
        return Request("/api/v1/events", "/api/v1/events", dump({**body, "data": data}))
    if field == "anonymous_id":
        return Request("/api/v1/events", "/api/v1/events", dump({**body, "anonymous_id": value}))
    # An identifier is one segment, so every reserved character is escaped (TRACK-SPEC, path parameters).
    person = quote(f"cio_{value}" if field == "cio_id" else value, safe="")
    return Request(f"/api/v1/customers/{person}/events", "/api/v1/customers/{id}/events", dump(body))


def request(entries: Sequence[Entry]) -> Request:
    """The request that carries these entries, which are of one route."""
    return single(entries[0]) if entries[0][0].route == "single" else batch(entries)


def cut(waiting: Iterable[tuple[Route, int]], max_events: int, max_bytes: int) -> int:
    """
    How many of the items that wait go into one request.

    Args:
        waiting: Route and size of each, oldest first; at least the first goes, and one that travels alone goes alone.
        max_events: Items per request, at most.
        max_bytes: Bytes of the whole body, at most: items, commas and envelope.
    """
    count, body = 0, BATCH_OVERHEAD
    for route_, size in waiting:
        if count == 0 and route_ == "single":
            return 1
        body += size + (count > 0)
        if count > 0 and (route_ == "single" or count >= max_events or body > max_bytes):
            return count
        count += 1
    return count
