"""
What else Customer.io can be told, as v2 batch items (TRACK-SPEC, v2 `type` and `action`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import _values
from .._events import ALL_LANES, IDENTIFIER_BYTES, Identity, Kind, Route
from ..exceptions import InvalidEvent
from .track import EVENT, dump, lane

_PLATFORMS = ("ios", "android")
_TYPE_DIGITS = 18


@dataclass(frozen=True, slots=True, repr=False)
class Form:
    """
    An item that still lacks its attributes, which stand between `before` and `after`; some kinds have none.

    What names two identifiers waits for every lane, and every lane waits for it. `person` is whose attributes they are,
    if anybody's.
    """

    kind: Kind
    lane: int
    before: bytes
    after: bytes = b""
    person: Identity | None = None
    route: Route = "batch"

    def item(self, attributes_json: bytes) -> bytes:
        """The whole item."""
        return self.before + attributes_json + self.after

    def __repr__(self) -> str:
        return f"Form({self.kind})"


def about_person(kind: Kind, person: Identity) -> Form:
    """`delete`, `suppress` or `unsuppress`."""
    who = dump(person)
    return Form(kind, lane(who), b'{"type":"person","action":"%b","identifiers":%b}' % (kind.encode(), who))


def merge(primary: Identity, secondary: Identity) -> Form:
    """
    Make one person of two; the second disappears.

    Raises:
        InvalidEvent: the same person twice, or one by phone, which Customer.io does not merge by.
    """
    if primary == secondary:
        message = "merge() was given the same person twice. Pass the one to keep, then the other."
        raise InvalidEvent(message)
    if primary.phone is not None or secondary.phone is not None:
        message = "Customer.io merges people by id, email or cio_id, not by phone. Pass one of these."
        raise InvalidEvent(message)
    sides = dump(primary), dump(secondary)
    return Form("merge", ALL_LANES, b'{"type":"person","action":"merge","primary":%b,"secondary":%b}' % sides)


def device(person: Identity, token: object, platform: object, last_used: int | None) -> Form:
    """
    A device of a person, to send push messages to; `last_used` is Unix seconds.

    Raises:
        InvalidEvent: no token, or another platform than Customer.io's two.
    """
    if platform not in _PLATFORMS:
        message = 'the platform of a device is "ios" or "android", in lower case.'
        raise InvalidEvent(message)
    who, used = dump(person), b"" if last_used is None else b',"last_used":%d' % last_used
    before = (
        b'{"type":"person","action":"add_device","identifiers":%b,"device":{"token":%b,"platform":%b%b,"attributes":'
    )
    return Form("add_device", lane(who), before % (who, _token(token), dump(platform), used), b"}}", person)


def delete_device(person: Identity, token: object) -> Form:
    """
    Forget a device.

    Raises:
        InvalidEvent: no token.
    """
    who = dump(person)
    item = b'{"type":"person","action":"delete_device","identifiers":%b,"device":{"token":%b}}'
    return Form("delete_device", lane(who), item % (who, _token(token)))


def thing(type_id: object, object_id: object) -> bytes:
    """
    The identifiers of an object, such as a company: its type's number in the workspace, from 1, and its own id.

    Raises:
        InvalidEvent: no such number, or no id.
    """
    number = str(type_id) if isinstance(type_id, int) and not isinstance(type_id, bool) else type_id
    if not isinstance(number, str) or not number.isascii() or not number.isdecimal() or len(number) > _TYPE_DIGITS:
        message = "type_id is no number of an object type. Customer.io counts the types of a workspace from 1."
        raise InvalidEvent(message)
    its_id = str(object_id) if isinstance(object_id, int) and not isinstance(object_id, bool) else object_id
    return dump({"object_type_id": number, "object_id": _identifier("object_id", its_id)})


def change_object(its: bytes) -> Form:
    """What is known about an object."""
    before = b'{"type":"object","action":"identify","identifiers":%b,"attributes":' % its
    return Form("identify_object", lane(its), before, b"}")


def delete_object(its: bytes) -> Form:
    """Forget an object."""
    return Form("delete_object", lane(its), b'{"type":"object","action":"delete","identifiers":%b}' % its)


def relate(person: Identity, its: bytes) -> Form:
    """A person belongs to an object; the attributes are the relationship's."""
    before = _related(b"add_relationships", person, its, b',"relationship_attributes":')
    return Form("add_relationships", ALL_LANES, before, b"}]}", person)


def unrelate(person: Identity, its: bytes) -> Form:
    """A person belongs to an object no more."""
    return Form("delete_relationships", ALL_LANES, _related(b"delete_relationships", person, its, b"}]}"))


def _related(action: bytes, person: Identity, its: bytes, end: bytes) -> bytes:
    head = b'{"type":"person","action":"%b","identifiers":%b,' % (action, dump(person))
    return head + b'"cio_relationships":[{"identifiers":%b%b' % (its, end)


def invite(name_json: bytes, recipient: object, event_id: str, at: int) -> Form:
    """
    An event about somebody who is no person yet: it goes by v1, without an anonymous id (TRACK-SPEC, invite events).

    Raises:
        InvalidEvent: no recipient.
    """
    address = dump(_identifier("recipient", recipient))
    whole = EVENT % (b"event", b'{"recipient":%b}' % address, name_json, event_id.encode(), at, b"\0")
    before, _, after = whole.partition(b"\0")
    return Form("event", lane(address), before, after, route="single")


def _token(token: object) -> bytes:
    if not isinstance(token, str) or not token.strip():
        message = "the token of a device is empty or no string. Pass what the push service gave the app."
        raise InvalidEvent(message)
    return dump(_values.text(str.__str__(token)))


def _identifier(what: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        message = f"{what} is empty or no string."
        raise InvalidEvent(message)
    if (size := len(value.encode("utf-8", "surrogatepass"))) > IDENTIFIER_BYTES:
        message = f"{what} is {size} bytes long, Customer.io takes {IDENTIFIER_BYTES}."
        raise InvalidEvent(message)
    return _values.text(str.__str__(value))
