"""
The single checks that rules are made of: each looks at one aspect of an operation and yields objections.

`message` is Customer.io's own wording where its list of invalid requests has one. Limits are bytes of UTF-8.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.jsontext import compact_size
from cio_middleware.sandbox.verdicts import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cio_middleware.sandbox.fidelity import Fidelity
    from cio_middleware.sandbox.operations import Operation

    Check = Callable[[Operation, Fidelity], Iterator[Finding]]

MILLISECONDS_FROM = 100_000_000_000
"""As seconds this is the year 5138; as milliseconds, 1973. Customer.io's Ruby client draws the same line."""

E164 = re.compile(r"\+[1-9]\d{1,14}")
DIRECTIVES = frozenset({"_timestamp", "_update", "cio_relationships", "anonymous_id"})
"""
Members of an identify that steer the call and are stored as no attribute, so they do not count against the
300.
"""


def required(field: str, what: str, fix: str = "") -> Finding:
    """Return the finding for something that is missing."""
    return Finding(f"E-{_slug(field)}-required", "required", field, f"{what} must be present", fix=fix)


def invalid(code: str, field: str, message: str, explain: str = "", fix: str = "") -> Finding:
    """Return the finding for something that is there and wrong."""
    return Finding(code, "invalid", field, message, explain, fix)


def size(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """A v2 item has its own ceiling, whatever is in it."""
    fix = "Send less, or send an event of up to 100,000 bytes by the v1 call." if op.is_event else "Send less."
    yield from oversized(op, fidelity, fix)


def oversized(op: Operation, fidelity: Fidelity, fix: str) -> Iterator[Finding]:
    """Object to an item above the ceiling that v2 and Pipelines share."""
    limit = fidelity.item_bytes()
    if op.size > limit:
        words = f"item cannot be larger than {fidelity.limits.item_kilobytes}kb"
        yield invalid("E-item-too-large", "", words, _over("the item", op.size, limit), fix)


def event_name(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """An event or screen has a name of at most 100 bytes that is not blank, and a page one of `page_name_bytes`."""
    if not isinstance(op.name, str) or not op.name.strip():
        reason = "required" if op.name is None else "invalid"
        yield Finding(
            "E-name-blank",
            reason,
            "name",
            "event name must not be blank",
            f"the name is {op.name!r}",
            "Give it a name.",
        )
        return
    limit = fidelity.page_name_bytes if op.kind == "page" else fidelity.limits.event_name_bytes
    length = len(op.name.strip().encode("utf-8", "surrogatepass"))
    if length > limit:
        words = f"event name cannot be longer than {limit} bytes"
        fix = (
            "Name the page by its URL without the query; that belongs into the attributes."
            if op.kind == "page"
            else "Put the part that changes into the attributes."
        )
        yield invalid("E-name-too-long", "name", words, _over("the name", length, limit), fix)


def event_data(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """What an event carries is an object, and by v1 at most 100,000 bytes of JSON as sent."""
    if not isinstance(op.attributes, dict):
        yield invalid(
            "E-data-not-object",
            op.where,
            "event data must be a hash",
            f"it is {_kind(op.attributes)}",
            "Send an object.",
        )
        return
    limit = fidelity.limits.event_data_bytes
    if op.api == "track.v1" and op.attributes_size > limit:
        words = f"event data cannot be longer than {limit} bytes"
        yield invalid("E-data-too-large", op.where, words, _over("data", op.attributes_size, limit), "Send less.")


def timestamp(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """A timestamp is whole Unix seconds."""
    if op.timestamp is None:
        return
    field = "_timestamp" if op.kind == "identify" and op.api == "track.v1" else "timestamp"
    if isinstance(op.timestamp, int) and not isinstance(op.timestamp, bool):
        if op.timestamp >= MILLISECONDS_FROM and fidelity.millisecond_timestamps == "refuse":
            explain = f"{op.timestamp} looks like milliseconds"
            yield invalid("E-timestamp", field, f"{field} is out of range", explain, "Send int(moment.timestamp()).")
        return
    explain = f"it is {_kind(op.timestamp)}"
    yield invalid("E-timestamp", field, f"{field} must be an integer", explain, "Send int(moment.timestamp()).")


def person(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """
    A person is addressed by exactly one identifier: id, email, phone, cio_id, or for events an anonymous_id.
    """
    kinds = ("id", "email", "phone", "cio_id", *(("anonymous_id",) if op.is_event else ()))
    yield from addressed(op.identifiers, "identifiers" if op.api == "track.v2" else "", kinds, fidelity)


def visitor_or_invitee(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """An event for nobody known names a visitor, or is an invitation that names its recipient."""
    if op.identifiers:
        yield from addressed(op.identifiers, "", ("anonymous_id",), fidelity)
    elif not (isinstance(op.attributes, dict) and op.attributes.get("recipient")):
        explain = "without an anonymous_id this is an invite event, and nothing says whom to invite"
        message = "anonymous_id or data.recipient must be present"
        yield Finding(
            "E-recipient-required",
            "required",
            "data.recipient",
            message,
            explain,
            "Send anonymous_id or data.recipient.",
        )


def merge_sides(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """A merge names two people, each by exactly one of id, email and cio_id."""
    for field, side in (("primary", op.primary), ("secondary", op.secondary)):
        if side is None:
            yield required(field, field)
        else:
            yield from addressed(side, field, ("id", "email", "cio_id"), fidelity)


def thing(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """An object is addressed by object_type_id and object_id, or by cio_object_id alone."""
    ids = op.identifiers
    if not isinstance(ids, dict) or not ids:
        yield required("identifiers", "identifiers", "Send object_type_id and object_id.")
        return
    if "cio_object_id" in ids:
        return
    if not isinstance(ids.get("object_id"), str) or not ids["object_id"]:
        yield required("identifiers.object_id", "object_id", "Send it as a string.")
    else:
        yield from _identifier_size("identifiers.object_id", ids["object_id"], fidelity)
    if not re.fullmatch(r"[1-9]\d*", str(ids.get("object_type_id", "1"))):
        message = "object_type_id must be a string of digits"
        yield invalid(
            "E-object-type", "identifiers.object_type_id", message, fix='The first type of a workspace is "1".'
        )


def attributes(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """Attributes are an object: at most 300, with names of 150 and values of 1000 bytes."""
    if not isinstance(op.attributes, dict):
        yield invalid(
            "E-attributes-not-object",
            op.where,
            "attributes must be a hash",
            f"it is {_kind(op.attributes)}",
            "Send an object.",
        )
        return
    kept = {name: value for name, value in op.attributes.items() if name not in DIRECTIVES}
    limits = fidelity.limits
    if len(kept) > limits.attributes_per_call:
        message = f"cannot identify more than {limits.attributes_per_call} attributes in one request"
        yield invalid(
            "E-too-many-attributes", op.where, message, f"there are {len(kept)}", "Send fewer, or in two calls."
        )
    for name, value in kept.items():
        yield from _attribute(op, name, value, fidelity)
    yield from _identifying_attributes(op)


def object_weight(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:
    """All attributes of one object weigh at most 100 kB."""
    weight = compact_size(op.attributes)
    limit = fidelity.limits.object_attributes_bytes
    if weight > limit:
        message = f"object attributes cannot be larger than {limit} bytes"
        yield invalid("E-object-too-large", op.where, message, _over("the attributes", weight, limit), "Send less.")


def relationships(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:  # noqa: ARG001
    """`cio_relationships` is a list in v2 and an object with an action and a list in v1."""
    given = op.relationships
    if given is None:
        if op.kind in {"add_relationships", "delete_relationships"}:
            yield required("cio_relationships", "cio_relationships")
        return
    if op.api == "track.v1":
        shaped = isinstance(given, dict) and isinstance(given.get("relationships"), list)
        shaped = shaped and given.get("action") in ("add_relationships", "delete_relationships")  # also a list may come
        message = "cio_relationships must be an object with an action and relationships"
    else:
        shaped = isinstance(given, list)
        message = "cio_relationships must be an array"
    if not shaped:
        yield invalid("E-relationships", "cio_relationships", message, "v1 takes an object here, v2 an array")


def device(op: Operation, fidelity: Fidelity) -> Iterator[Finding]:  # noqa: ARG001
    """A device has a token (`id` in v1), and when it is added a platform."""
    key = op.device_key
    if not isinstance(op.device, dict):
        yield required("device", "device", f'Send {{"device": {{"{key}": …, "platform": …}}}}.')
        return
    if not op.device.get(key):
        yield required(f"device.{key}", f"device {key}")
    elif not isinstance(op.device[key], str):
        message = f"device {key} must be a string"
        yield invalid("E-device-token", f"device.{key}", message, f"it is {_kind(op.device[key])}", "Send the token.")
    if op.kind == "add_device" and op.device.get("platform") not in ("ios", "android"):  # also a list may come
        message = "device platform must be ios or android"
        yield invalid("E-platform", "device.platform", message, f"it is {op.device.get('platform')!r}")


def addressed(given: Any, field: str, kinds: tuple[str, ...], fidelity: Fidelity) -> Iterator[Finding]:
    """Somebody is named by exactly one identifier of these kinds."""
    if not isinstance(given, dict) or not given:
        yield required(field or "identifiers", field or "identifiers", f"Send one of {', '.join(kinds)}.")
        return
    known = [kind for kind in kinds if kind in given]
    if len(known) != 1 or len(given) != 1:
        message = f"exactly one of {', '.join(kinds)} must be present"
        yield invalid("E-identifiers", field, message, f"there are {', '.join(map(repr, given))}", "Send exactly one.")
        return
    kind = known[0]
    place = f"{field}.{kind}".lstrip(".")
    value = given[kind]
    if not isinstance(value, str):
        yield invalid(
            "E-identifier-not-string",
            place,
            f"{kind} attribute must be a string value",
            f"it is {_kind(value)}",
            "Send a string.",
        )
    elif not value:
        yield invalid(
            "E-identifier-empty", place, f"{kind} attribute cannot be an empty string", fix="Send the identifier."
        )
    elif kind == "phone" and not E164.fullmatch(value):
        yield invalid("E-phone", place, "phone must be in E.164 format", fix="Like +15551234567.")
    else:
        yield from _identifier_size(place, value, fidelity)


def _identifier_size(field: str, value: str, fidelity: Fidelity) -> Iterator[Finding]:
    limit = fidelity.limits.identifier_bytes
    length = len(value.encode("utf-8", "surrogatepass"))
    if length > limit:
        message = f"{field.rpartition('.')[2]} attribute cannot be longer than {limit} bytes"
        yield invalid("E-identifier-too-long", field, message, _over("it", length, limit), "Use a shorter identifier.")


def _attribute(op: Operation, name: str, value: Any, fidelity: Fidelity) -> Iterator[Finding]:
    limits = fidelity.limits
    named = len(name.encode("utf-8", "surrogatepass"))
    field = f"{op.where}.{name}" if op.api == "track.v2" else name
    if named > limits.attribute_name_bytes:
        message = f"attribute name cannot be longer than {limits.attribute_name_bytes} bytes"
        yield invalid(
            "E-attribute-name", field, message, _over("the name", named, limits.attribute_name_bytes), "Shorten it."
        )
    valued = compact_size(value)
    if valued > limits.attribute_value_bytes:
        limit = limits.attribute_value_bytes
        v1 = f"value for attribute '{name}' cannot be longer than {limit} bytes"
        message = v1 if op.api == "track.v1" else f"property value cannot be longer than {limit} bytes"
        yield invalid(
            "E-attribute-value",
            field,
            message,
            _over(f"the value of {name}", valued, limit),
            "Shorten it, or leave it out.",
        )


def _identifying_attributes(op: Operation) -> Iterator[Finding]:
    for kind in ("id", "email"):
        value = op.attributes.get(kind)
        field = f"{op.where}.{kind}" if op.api == "track.v2" else kind
        if value is not None and not isinstance(value, str):
            message = f"{kind} attribute must be a string value"
            yield invalid("E-identifier-not-string", field, message, f"it is {_kind(value)}", "Send a string.")
        elif value == "" and kind == "id":
            yield invalid("E-identifier-empty", field, "id attribute cannot be an empty string", fix="Leave it out.")


def _over(what: str, size: int, limit: int) -> str:
    return f"{what} is {size} bytes, the limit is {limit}"


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")


def _slug(field: str) -> str:
    return field.replace("_", "-").replace(".", "-")
