"""
Turn a Pipelines call, or an item of its batch, into the shape that Track's calls have, without judging it.

The people are the same: `userId` is the id of a person and `anonymousId` of a visitor, `group` makes an object and
relates the person to it, and an event with one of Customer.io's own names does what its name says.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.operations import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

GZIP_BYTES = 4 * 1024 * 1024
"""What a compressed body may unfold to."""


class BadGzip(ValueError):
    """A compressed body that cannot be read; the message says why."""


def unfold(body: bytes) -> bytes:
    """
    Return a gzip body as it was before.

    Raises:
        BadGzip: for what is no gzip, is cut short, or is above `GZIP_BYTES`.
    """
    unpacker = zlib.decompressobj(wbits=31)
    try:
        whole = unpacker.decompress(body, GZIP_BYTES)
    except zlib.error as error:
        raise BadGzip(f"the body is no gzip: {error}") from error
    if unpacker.unconsumed_tail:
        raise BadGzip(f"the body unfolds to more than {GZIP_BYTES} bytes")
    if not unpacker.eof:
        raise BadGzip("the gzip body is cut short")
    return whole


def from_call(verb: str, sent: Any, size: int, batch_index: int | None = None, shared: Any = None) -> Operation:
    """
    Understand one call.

    Args:
        verb: One of `VERBS`; an item of a batch says it in its `type`.
        sent: The body or the item as parsed.
        size: Its bytes, as sent.
        batch_index: Its place in a batch.
        shared: The `context` of the batch, which holds for every item that does not say otherwise.
    """
    body: dict[str, Any] = sent if isinstance(sent, dict) else {}
    if isinstance(shared, dict) and isinstance(body.get("context", {}), dict | None):
        sent = body = {**body, "context": {**shared, **(body.get("context") or {})}}
    common: dict[str, Any] = {
        "api": "pipelines",
        "verb": verb,
        "sent": sent,
        "size": size,
        "batch_index": batch_index,
        "identifiers": _whom(body),
        "anonymous_id": body.get("anonymousId"),
        "event_id": body.get("messageId"),
        "timestamp": seconds(body.get("timestamp")),
        "attributes": _absent(body.get("traits" if verb in {"identify", "group"} else "properties")),
        "attributes_size": size,
    }
    reader = _VERBS.get(verb)
    return Operation(**{**common, **(reader(body, common) if reader else {"subject": "person", "kind": verb})})


def from_batch(items: list[Any], sizes: tuple[int, ...], shared: Any) -> tuple[Operation, ...]:
    """Understand a batch; an item without a known `type` becomes a call of none, which the rules refuse."""
    verbs = [item.get("type") if isinstance(item, dict) else None for item in items]
    words = [verb if isinstance(verb, str) else "" for verb in verbs]
    return tuple(from_call(words[index], item, sizes[index], index, shared) for index, item in enumerate(items))


def seconds(stamp: Any) -> int | None:
    """Return an ISO 8601 time as Unix seconds, without a zone in UTC; None for what is none."""
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def _absent(value: Any) -> Any:
    return {} if value is None else value


def _whom(body: dict[str, Any]) -> dict[str, Any]:
    for kind, member in (("id", "userId"), ("anonymous_id", "anonymousId")):
        if body.get(member) not in (None, ""):
            return {kind: body[member]}
    return {}


def _member(body: dict[str, Any], *path: str) -> Any:
    value: Any = body
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _identify(body: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    email = _member(body, "traits", "email")
    nameless = "id" not in common["identifiers"] and isinstance(email, str) and email
    return {
        "subject": "person",
        "kind": "identify",
        "identifiers": {"email": email} if nameless else common["identifiers"],
    }


def _track(body: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    name = body.get("event")
    special = SEMANTIC.get(name) if isinstance(name, str) else None
    if special is not None:
        return special(body, common)
    return {"subject": "person", "kind": "event", "name": name}


def _named(kind: str) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    return lambda body, _: {"subject": "person", "kind": kind, "name": body.get("name")}


def _group(body: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    traits = common["attributes"] if isinstance(common["attributes"], dict) else {}
    steering = {"object_type_id", "relationshipAttributes"}
    whom = common["identifiers"]
    related = {"identifiers": whom, "relationship_attributes": _absent(traits.get("relationshipAttributes"))}
    return {
        "subject": "object",
        "kind": "identify",
        "identifiers": _thing(traits.get("object_type_id"), body.get("groupId")),
        "attributes": {key: value for key, value in traits.items() if key not in steering} or common["attributes"],
        "relationships": [related] if whom else [],
    }


def _alias(body: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
    return {
        "subject": "person",
        "kind": "alias",
        "identifiers": {"id": body.get("userId")},
        "secondary": body.get("previousId"),
    }


def _thing(type_id: Any, object_id: Any) -> dict[str, Any]:
    return {"object_type_id": "1" if type_id is None else str(type_id), "object_id": object_id}


def _device(kind: str) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    def read(body: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
        given = _member(body, "context", "device")
        device = {}
        if isinstance(given, dict):
            device = {**given, "platform": given.get("type"), "attributes": common["attributes"]}
        return {"subject": "person", "kind": kind, "device": device}

    return read


def _just(kind: str) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    return lambda *_: {"subject": "person", "kind": kind}


def _unrelated(_: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    properties = common["attributes"] if isinstance(common["attributes"], dict) else {}
    thing = _thing(properties.get("objectTypeId"), properties.get("objectId"))
    return {"subject": "person", "kind": "delete_relationships", "relationships": [{"identifiers": thing}]}


def _object_gone(_: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    properties = common["attributes"] if isinstance(common["attributes"], dict) else {}
    thing = _thing(properties.get("objectTypeId"), properties.get("objectId"))
    return {"subject": "object", "kind": "delete", "identifiers": thing}


def _report(kind: str, member: str) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    return lambda _, common: {"subject": "delivery", "kind": kind, "name": _member(common, "attributes", member)}


SEMANTIC: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "Device Created or Updated": _device("add_device"),
    "Device Deleted": _device("delete_device"),
    "User Deleted": _just("delete"),
    "User Suppressed": _just("suppress"),
    "User Unsuppressed": _just("unsuppress"),
    "Relationship Deleted": _unrelated,
    "Object Deleted": _object_gone,
    "Report Delivery Event": _report("metric", "metric"),
    "Report Content Event": _report("content", "actionType"),
}
"""Names of events that Customer.io gives a meaning of their own."""

_VERBS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "identify": _identify,
    "track": _track,
    "page": _named("page"),
    "screen": _named("screen"),
    "group": _group,
    "alias": _alias,
}
VERBS = frozenset(_VERBS)
"""The calls, and the types of an item."""
