"""
Turn what arrived, a v1 call or an item of v2, into one shape, without judging it.

An operation keeps what was sent beside what was understood, because a refusal quotes the first and the rules
read the second. Values stay as they came: a name may still be a number here, and it is `rules` that objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cio_middleware.sandbox.endpoints import Route
    from cio_middleware.sandbox.jsontext import Document

EVENT_KINDS = frozenset({"event", "page", "screen"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """
    One thing that a caller wants done.

    Attributes:
        api: ``track.v1``, ``track.v2``, ``pipelines`` or ``app``.
        subject: ``person``, ``object``, ``delivery``, ``form`` or ``segment``.
        kind: The verb, in v2's words: ``identify``, ``event``, ``page``, ``merge`` and so on; ``send`` for the App API.
        verb: The call as Pipelines names it, or the channel of a send.
        sent: The body or the item as parsed.
        size: Its bytes, as sent.
        identifiers: Who or what it is about, as sent; for v1 read from the path.
        attributes: `data` of a v1 event, `attributes` of a v2 item, the body of a v1 identify.
        attributes_size: Bytes of those, as sent.
        timestamp: When it happened, as sent: v2's `timestamp`, or `_timestamp` of a v1 identify; a Pipelines call's in
            Unix seconds.
        arrived: When it came, in Unix seconds, for the rules that count from there.
        batch_index: Its place in a batch.
    """

    api: str
    subject: str
    kind: str
    sent: Any
    size: int = 0
    identifiers: Any = field(default_factory=dict)
    name: Any = None
    event_id: Any = None
    timestamp: Any = None
    attributes: Any = field(default_factory=dict)
    attributes_size: int = 0
    anonymous_id: Any = None
    device: Any = None
    primary: Any = None
    secondary: Any = None
    relationships: Any = None
    ids: Any = None
    verb: str = ""
    arrived: float = 0.0
    batch_index: int | None = None

    @property
    def device_key(self) -> str:
        """What this API calls a device's token."""
        return "id" if self.api == "track.v1" else "token"

    @property
    def is_event(self) -> bool:
        """True for what lands in a person's timeline: events, pages and screens."""
        return self.subject == "person" and self.kind in EVENT_KINDS

    @property
    def where(self) -> str:
        """The field that holds the attributes, in the words of the API that was used."""
        return "data" if self.api == "track.v1" and self.is_event else "attributes"


def from_call(route: Route, document: Document | None, query: Mapping[str, str]) -> Operation:
    """Understand a v1 call; `document` is None when there was no body."""
    sent = document.value if document else None
    call = _Call(sent if isinstance(sent, dict) else {}, sent, document, route.values, query)
    common: dict[str, Any] = {"api": "track.v1", "sent": sent, "size": document.size if document else 0}
    if "identifier" in route.values:
        common["identifiers"] = identifiers_of(route.values["identifier"])
    verb = route.endpoint.name.rpartition(".")[2]
    return Operation(**common, **_V1[verb](call))


def from_item(item: Any, size: int, batch_index: int | None = None) -> Operation:
    """Understand a v2 item; what is no object becomes an operation of no kind, which `rules` refuses."""
    body: dict[str, Any] = item if isinstance(item, dict) else {}
    identifiers = body.get("identifiers", {})
    return Operation(
        api="track.v2",
        subject=_word(body.get("type")),
        kind=_word(body.get("action")),
        sent=item,
        size=size,
        identifiers=identifiers,
        name=body.get("name"),
        event_id=body.get("id"),
        timestamp=body.get("timestamp"),
        attributes=_absent(body.get("attributes")),
        attributes_size=size,
        anonymous_id=_linked_visitor(body, identifiers),
        device=body.get("device"),
        primary=body.get("primary"),
        secondary=body.get("secondary"),
        relationships=body.get("cio_relationships"),
        batch_index=batch_index,
    )


def identifiers_of(path_value: str) -> dict[str, str]:
    """Infer what a v1 path names from its shape: ``cio_`` and a cio_id, an email, or else an id."""
    if path_value.startswith("cio_"):
        return {"cio_id": path_value.removeprefix("cio_")}
    return {"email": path_value} if "@" in path_value else {"id": path_value}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _absent(value: Any) -> Any:
    return {} if value is None else value


def _linked_visitor(item: dict[str, Any], identifiers: Any) -> Any:
    attributes = item.get("attributes")
    if isinstance(attributes, dict) and "anonymous_id" in attributes and item.get("action") == "identify":
        return attributes["anonymous_id"]
    return identifiers.get("anonymous_id") if isinstance(identifiers, dict) else None


@dataclass(frozen=True, slots=True)
class _Call:
    """
    What the readers of v1 calls look at: the body as an object, the body as sent, and what the URL says.
    """

    body: dict[str, Any]
    sent: Any
    document: Document | None
    path: Mapping[str, str]
    query: Mapping[str, str]


def _identify(call: _Call) -> dict[str, Any]:
    return {
        "subject": "person",
        "kind": "identify",
        "attributes": _absent(call.sent),
        "timestamp": call.body.get("_timestamp"),
        "anonymous_id": call.body.get("anonymous_id"),
        "relationships": call.body.get("cio_relationships"),
    }


def _event(call: _Call) -> dict[str, Any]:
    return {
        "subject": "person",
        "kind": _word(call.body.get("type", "event")),
        "name": call.body.get("name"),
        "event_id": call.body.get("id"),
        "timestamp": call.body.get("timestamp"),
        "attributes": _absent(call.body.get("data")),
        "attributes_size": call.document.members.get("data", 0) if call.document else 0,
    }


def _anonymous_event(call: _Call) -> dict[str, Any]:
    visitor = call.body.get("anonymous_id")
    identifiers = {} if visitor is None or visitor == "" else {"anonymous_id": visitor}
    return {**_event(call), "identifiers": identifiers, "anonymous_id": visitor}


def _lost_device(call: _Call) -> dict[str, Any]:
    return {"subject": "person", "kind": "delete_device", "device": {"id": call.path["token"]}}


def _merge(call: _Call) -> dict[str, Any]:
    sides = {"primary": call.body.get("primary"), "secondary": call.body.get("secondary")}
    return {"subject": "person", "kind": "merge", **sides}


def _metric(call: _Call) -> dict[str, Any]:
    name = call.body.get("metric", call.body.get("event"))
    stamp = call.body.get("timestamp")
    return {"subject": "delivery", "kind": "metric", "name": name, "timestamp": stamp, "attributes": call.body}


def _unsubscribe(call: _Call) -> dict[str, Any]:
    name = call.path["delivery_id"]
    return {"subject": "delivery", "kind": "unsubscribe", "name": name, "attributes": call.body}


def _form(call: _Call) -> dict[str, Any]:
    answers = _absent(call.body.get("data"))
    known = {key: answers[key] for key in ("id", "email") if answers.get(key)} if isinstance(answers, dict) else {}
    name = call.path["form_id"]
    return {"subject": "form", "kind": "submit", "name": name, "attributes": answers, "identifiers": known}


def _segment(kind: str, call: _Call) -> dict[str, Any]:
    by = {"id_type": call.query.get("id_type", "id")}
    name = call.path["segment_id"]
    return {"subject": "segment", "kind": kind, "name": name, "ids": call.body.get("ids"), "attributes": by}


_V1: dict[str, Callable[[_Call], dict[str, Any]]] = {
    "identify": _identify,
    "delete": lambda _: {"subject": "person", "kind": "delete"},
    "event": _event,
    "anonymous_event": _anonymous_event,
    "add_device": lambda call: {"subject": "person", "kind": "add_device", "device": call.body.get("device")},
    "delete_device": _lost_device,
    "suppress": lambda _: {"subject": "person", "kind": "suppress"},
    "unsuppress": lambda _: {"subject": "person", "kind": "unsuppress"},
    "merge": _merge,
    "metric": _metric,
    "push_metric": _metric,
    "form": _form,
    "add_to_segment": partial(_segment, "add"),
    "remove_from_segment": partial(_segment, "remove"),
    "unsubscribe": _unsubscribe,
}
