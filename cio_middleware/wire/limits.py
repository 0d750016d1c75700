"""
What Customer.io refuses by size or by name, checked at capture, in bytes of UTF-8.

Numbers from TRACK-SPEC and the vendor's list of invalid requests. The vendor says "32kb" without saying which kb; the
smaller reading is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from .. import _values
from .._events import IDENTIFIER_BYTES
from .._ids import is_ulid
from ..exceptions import EventTooLarge, InvalidEvent

ITEM_BYTES = 32_000
EVENT_DATA_BYTES = 100_000
EVENT_NAME_BYTES = 100
PAGE_NAME_BYTES = 500
ATTRIBUTES = 300
ATTRIBUTE_NAME_BYTES = 150
ATTRIBUTE_VALUE_BYTES = 1000

_EARLIEST, _LATEST = 999_999_999, 100_000_000_000


def name_json(name: str) -> bytes:
    """
    An event's name as JSON, checked once and remembered.

    Raises:
        InvalidEvent: no string, blank, or longer than 100 bytes.
    """
    # Not in the function that remembers: it would ask the argument for its hash before it looks at it.
    if not isinstance(name, str):
        message = f"the event's name is a {type(name).__name__}. Pass a short string such as 'order_placed'."
        raise InvalidEvent(message)
    return checked_name_json(name)


@lru_cache(1024)
def checked_name_json(name: str) -> bytes:
    """The same for what is a string."""
    plain = _values.text(str.__str__(name))
    if not plain.strip():
        message = "the event's name is blank. Pass a short string such as 'order_placed'."
        raise InvalidEvent(message)
    if (size := len(plain.encode())) > EVENT_NAME_BYTES:
        message = (
            f"the event's name is {size} bytes long, Customer.io takes {EVENT_NAME_BYTES}. "
            "Keep the name fixed and put what changes into attributes."
        )
        raise InvalidEvent(message)
    return _values.dump(plain)


def page_name_json(name: str) -> bytes:
    """
    A page's name, which is its URL, as JSON.

    The vendor's 100 bytes are about events; an error of its list speaks of 500 characters, which is taken for pages.
    """
    if not isinstance(name, str) or not name.strip():
        what = "blank" if isinstance(name, str) else f"a {type(name).__name__}"
        message = f"the page's name is {what}. Pass its URL."
        raise InvalidEvent(message)
    plain = _values.text(str.__str__(name))
    if (size := len(plain.encode())) > PAGE_NAME_BYTES:
        message = f"the page's name is {size} bytes long, Customer.io takes {PAGE_NAME_BYTES}. Leave the query out."
        raise InvalidEvent(message)
    return _values.dump(plain)


def check_anonymous_id(anonymous_id: object) -> str:
    """An anonymous id is a string of at most 150 bytes, like any identifier."""
    if not isinstance(anonymous_id, str) or not anonymous_id.strip():
        message = "anonymous_id is empty or no string. Leave it out, or pass the id of the browser."
        raise InvalidEvent(message)
    if (size := len(anonymous_id.encode("utf-8", "surrogatepass"))) > IDENTIFIER_BYTES:
        message = (
            f"anonymous_id is {size} bytes long, Customer.io takes {IDENTIFIER_BYTES}. Pass the id of the browser."
        )
        raise InvalidEvent(message)
    return str.__str__(anonymous_id)


def check_event_id(event_id: object) -> str:
    """Customer.io tells repeated events by a ULID; anything else would not be recognised."""
    if not isinstance(event_id, str) or not is_ulid(event_id):
        message = "event_id is no ULID (26 characters of Crockford's base 32). Leave it out, and one is made."
        raise InvalidEvent(message)
    return str.__str__(event_id)


def unix_seconds(timestamp: object) -> int:
    """
    A timestamp as the wire has it: whole Unix seconds.

    Raises:
        InvalidEvent: milliseconds, or no time at all. Customer.io takes milliseconds for a date some 50,000 years
            ahead.
    """
    if isinstance(timestamp, datetime):
        aware = timestamp if timestamp.utcoffset() is not None else timestamp.replace(tzinfo=UTC)
        timestamp = aware.timestamp()
    if isinstance(timestamp, bool) or not isinstance(timestamp, (int, float)):
        message = f"timestamp is a {type(timestamp).__name__}. Pass Unix seconds or a datetime."
        raise InvalidEvent(message)
    if timestamp != timestamp:  # noqa: PLR0124 - NaN; math.isnan refuses what no double holds
        message = "timestamp is not a number. Pass Unix seconds or a datetime."
        raise InvalidEvent(message)
    if timestamp >= _LATEST:
        message = f"timestamp {_short(timestamp)} looks like milliseconds. Pass seconds: int(dt.timestamp())."
        raise InvalidEvent(message)
    if timestamp <= _EARLIEST:
        message = f"timestamp {_short(timestamp)} lies before 2001-09-09. Pass Unix seconds: int(dt.timestamp())."
        raise InvalidEvent(message)
    return int(timestamp)


def _short(number: float) -> str:
    return f"{number:.0f}" if abs(number) < 1e18 else "of more than 18 digits"


def check_person_attributes(values: Mapping[str, Any]) -> None:
    """At most 300 attributes, 150 bytes per name and 1000 per value (TRACK-SPEC)."""
    if len(values) > ATTRIBUTES:
        message = f"{len(values)} attributes in one identify, Customer.io takes {ATTRIBUTES}. Send what campaigns use."
        raise InvalidEvent(message)
    for name, value in values.items():
        if not name.strip():
            message = "an attribute has a blank name. Give it one."
            raise InvalidEvent(message)
        if len(name) > ATTRIBUTE_NAME_BYTES // 4 and (size := len(name.encode())) > ATTRIBUTE_NAME_BYTES:
            message = f"the name of an attribute is {size} bytes long, Customer.io takes {ATTRIBUTE_NAME_BYTES}."
            raise InvalidEvent(message)
        size = len(value.encode() if isinstance(value, str) else _values.dump(value))
        if size > ATTRIBUTE_VALUE_BYTES:
            message = (
                f"the value of {_shown(name)} is {size} bytes long, Customer.io takes {ATTRIBUTE_VALUE_BYTES}. "
                "Shorten it, or send a link to it."
            )
            raise InvalidEvent(message)


def _shown(name: str) -> str:
    # A name that a developer chose may be repeated; one that was made from data may hold a person.
    return f"attribute {name!r}" if len(name) <= 60 and name.isidentifier() else "an attribute"


def check_size(size: int, limit: int, kind: str) -> None:
    """An item that Customer.io would refuse for its size is refused here, with the number."""
    if size > limit:
        message = f"this {kind} is {size:,} bytes long, the limit is {limit:,}. Send less in its attributes."
        raise EventTooLarge(message)
