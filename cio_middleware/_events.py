"""
The values that cross layers: an event, who it is about, and what a queue keeps beside its bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from . import _values
from ._stats import DropReason
from .exceptions import DeliveryError, InvalidEvent

Kind = Literal[
    "event", "identify", "page", "screen", "delete", "suppress", "unsuppress", "merge", "add_device", "delete_device",
    "identify_object", "delete_object", "add_relationships", "delete_relationships",
]  # fmt: skip
"""What is said. Processors see those kinds that have attributes."""
Route = Literal["batch", "single"]

ALL_LANES = -1
"""The lane of an event that names two identifiers: it waits for every lane, and every lane waits for it."""

IDENTIFIER_BYTES = 150
"""Customer.io's limit for any identifier (TRACK-SPEC)."""


class Identity(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """
    Who an event is about: exactly one of Customer.io's identifiers (Track v2, `identifiers`).

    `id` is the workspace's own id for the person, `phone` is E.164. The value never shows in a repr; a lone surrogate
    in it, which UTF-8 cannot hold, becomes U+FFFD.

    Raises:
        InvalidEvent: none or several given, blank, not a string, or longer than 150 bytes.
    """

    id: str | None = None
    email: str | None = None
    cio_id: str | None = None
    phone: str | None = None

    def __post_init__(self) -> None:
        value = self.id
        if type(value) is str and value.isascii() and 0 < len(value) <= IDENTIFIER_BYTES and not value.isspace():  # noqa: SIM102 - nearly every id ends here
            if self.email is self.cio_id is self.phone is None:
                return
        given = {field: value for field in self.__struct_fields__ if (value := getattr(self, field)) is not None}
        if len(given) != 1:
            message = f"an Identity takes exactly one of id, email, cio_id, phone; got {', '.join(given) or 'none'}."
            raise InvalidEvent(message)
        field, value = given.popitem()
        if not isinstance(value, str) or not value.strip():
            what = "is blank" if isinstance(value, str) else f"is a {type(value).__name__}, not a string"
            message = f"the person's {field} {what}. Pass the id that your workspace knows the person by."
            raise InvalidEvent(message)
        if (size := len(value.encode("utf-8", "surrogatepass"))) > IDENTIFIER_BYTES:
            message = (
                f"the person's {field} is {size} bytes long, Customer.io takes {IDENTIFIER_BYTES}. "
                "Pass the id, not a token or a name."
            )
            raise InvalidEvent(message)
        # The encoder takes no subclass, such as an enum's member or Django's SafeString, and UTF-8 no lone surrogate.
        msgspec.structs.force_setattr(self, field, _values.text(str.__str__(value)))

    @classmethod
    def of(cls, person: object) -> Identity:
        """A person as the verbs take it: an `Identity`, or the workspace's id as a string, an int or a UUID."""
        if type(person) is str:
            return cls(id=person)
        if isinstance(person, Identity):
            return person
        if isinstance(person, str):
            return cls(id=str.__str__(person))
        if isinstance(person, int) and not isinstance(person, bool):
            return cls(id=_digits(person))
        if isinstance(person, uuid.UUID):
            return cls(id=str(person))
        message = (
            f"person is a {type(person).__name__}. "
            "Pass the workspace's id as a string, an int or a UUID, or cio.Identity(email=...)."
        )
        raise InvalidEvent(message)

    @property
    def key(self) -> tuple[str, str]:
        """Which identifier, and its value."""
        for field in self.__struct_fields__:
            if (value := getattr(self, field)) is not None:
                return field, value
        raise AssertionError  # __post_init__ lets no empty one exist

    def __repr__(self) -> str:
        return f"Identity({self.key[0]}=...)"

    def __rich_repr__(self) -> Any:
        yield self.key[0], ...


def _digits(number: int) -> str:
    if number.bit_length() > 8 * IDENTIFIER_BYTES:  # Python refuses to write thousands of digits
        message = f"person is a whole number of more than {IDENTIFIER_BYTES} digits. Pass the workspace's id."
        raise InvalidEvent(message)
    return str(int(number))


Person = str | int | uuid.UUID | Identity
"""A person as the verbs take it: the workspace's id, or an `Identity`."""

Timestamp = datetime | float | int
"""When, as Unix seconds or a datetime; one without a zone is taken as UTC."""


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _Attrs(Protocol):
    __attrs_attrs__: ClassVar[Any]


class _Model(Protocol):
    def model_dump(self, *, by_alias: bool, warnings: bool) -> Mapping[str, Any]: ...


Attributes = Mapping[str, Any] | _Dataclass | _Attrs | msgspec.Struct | _Model
"""What an event says: a mapping, a dataclass, an attrs or msgspec object, or a pydantic model."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """
    Something captured: attributes are bytes already, the person may still be unknown.

    `timestamp` is Unix seconds. An identify that has both an identity and an anonymous id links the two. Processors get
    an event and return it, another, or None to drop it.
    """

    kind: Kind
    event_id: str
    name: str
    timestamp: int
    attributes_json: bytes
    identity: Identity | None = None
    anonymous_id: str | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes, decoded anew at each call."""
        decoded: dict[str, Any] = msgspec.json.decode(self.attributes_json)
        return decoded

    def with_attributes(self, attributes: Mapping[str, Any]) -> Event:
        """The same event with other attributes."""
        return msgspec.structs.replace(self, attributes_json=_values.encode(attributes).json)

    def about(self, identity: Identity | None, anonymous_id: str | None) -> Event:
        """The same event, about this person."""
        return msgspec.structs.replace(self, identity=identity, anonymous_id=anonymous_id)

    def __repr__(self) -> str:
        return f"Event(kind={self.kind!r}, event_id={self.event_id!r}, {len(self.attributes_json)} bytes)"

    def __rich_repr__(self) -> Any:
        yield "kind", self.kind
        yield "event_id", self.event_id


class Envelope(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="v", tag=1):
    """
    What a queue keeps beside an item's bytes. Encoded, it tells the version of its form as `v`.

    `captured_at` is Unix seconds, `lane` a 32-bit number shared by all events of one identifier, or `ALL_LANES`;
    `carrier` is the span context of the capture (None when nothing records). `nested` is how many deliveries led to the
    event, each by way of the one before; 0 for nearly all.
    """

    event_id: str
    kind: Kind
    route: Route
    lane: int
    captured_at: float
    carrier: Any = None
    nested: int = 0


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """
    What a backend did with an event: took it (`depth` events now wait there), or dropped it with a reason.

    `urgent` asks for a delivery now. `settled` means that the backend has told the ledger already what became of it.
    `error` is for who asked to have it raised. `late` means that it was taken in the middle of other work of this very
    thread, by a signal handler or a finalizer, and is looked at when that is done.
    """

    depth: int = 0
    reason: DropReason | None = None
    settled: bool = False
    urgent: bool = False
    error: DeliveryError | None = None
    late: bool = False


Entry = tuple[Envelope, bytes]
"""A queued event: the envelope and the item's bytes."""
