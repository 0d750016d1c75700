"""
Turn what a web app holds into JSON bytes, once, at capture.

Customer.io reads dates as Unix seconds and money as numbers, so datetimes and dates become seconds (naive ones are
taken as UTC) and a Decimal stays an exact number. What has no meaning in JSON is replaced by its type's name and
counted; what cannot be bounded is refused. Nothing here keeps a reference to the caller's objects: later mutation
changes no event.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import math
import numbers
import pathlib
import uuid
from collections import deque
from collections.abc import Callable, ItemsView, KeysView, Mapping, ValuesView
from typing import Any, NamedTuple

import msgspec

from .exceptions import InvalidEvent

MAX_DEPTH = 20
MAX_VALUES = 20_000
_MAX_BITS = 1023  # a JSON reader that uses doubles turns larger integers into infinity
_MAX_INTEGER = 2**_MAX_BITS - 1
_SUSPECT_BYTES = len(str(_MAX_INTEGER))  # an object of fewer holds no such number, and not too many values

_PLAIN = frozenset({str, int, float, bool, type(None)})
_dump = msgspec.json.Encoder(decimal_format="number").encode


class Encoded(NamedTuple):
    """A JSON object as bytes, and how many values in it had to be replaced or were not finite numbers."""

    json: bytes
    replaced: int = 0
    not_finite: int = 0

    def __repr__(self) -> str:
        return f"Encoded({len(self.json)} bytes)"


class Cleaned(NamedTuple):
    """The same as JSON-ready values, for verbs that look at single attributes."""

    values: dict[str, Any]
    replaced: int = 0
    not_finite: int = 0

    def __repr__(self) -> str:
        return f"Cleaned({len(self.values)} values)"


def encode(attributes: Mapping[Any, Any]) -> Encoded:
    """
    Attributes as a JSON object. Numbers that are not finite become null.

    Raises:
        InvalidEvent: nested deeper than 20 levels (or within themselves), more than 20,000 values, a whole number that
            no double holds, or a mapping that raises.
    """
    if (raw := encode_plain(attributes)) is not None:
        return Encoded(raw)
    cleaned = clean(attributes)
    return Encoded(dump(cleaned.values), cleaned.replaced, cleaned.not_finite)


def encode_plain(attributes: Mapping[Any, Any], end: bytes = b"}") -> bytes | None:
    """
    The same for a flat dict of strings, numbers, booleans and None, which is most events; None for anything else.

    `end` closes the object in place of its brace, and may bring further members; it needs attributes to follow.
    """
    if type(attributes) is not dict or not attributes:
        return None
    for name, value in attributes.items():
        kind = type(value)
        # A float is not finite when it has a distance to itself. msgspec has rules of its own for other names.
        if kind not in _PLAIN or type(name) is not str or (kind is float and value - value != 0.0):
            return None
    try:
        raw = _dump(attributes)
    except (UnicodeEncodeError, OverflowError, ValueError):
        return None
    if len(raw) >= _SUSPECT_BYTES and not _is_sound(attributes):
        return None
    return raw[:-1] + end


def splice(json_object: bytes, member: bytes) -> bytes:
    """A JSON object with one more member at its end, without decoding it."""
    return b"{%b}" % member if json_object == b"{}" else b"%b,%b}" % (json_object[:-1], member)


def clean(attributes: Mapping[Any, Any], *, omit_not_finite: bool = False) -> Cleaned:
    """Attributes as values that JSON has, with the same rules and errors as `encode`."""
    cleaner = _Cleaner(omit_not_finite=omit_not_finite)
    try:
        values = cleaner.mapping(attributes, 1)
    except InvalidEvent:
        raise
    except Exception as error:  # noqa: BLE001 - a mapping of the caller's own may raise anything
        message = f"the attributes could not be read: {type(error).__name__}. Pass a plain dict."
        raise InvalidEvent(message) from None
    return Cleaned(values, cleaner.replaced, cleaner.not_finite)


def _is_sound(plain: dict[str, Any]) -> bool:
    """Whether plain values are few enough, and none of them is a whole number that no double holds."""
    whole = (value for value in plain.values() if type(value) is int)
    return len(plain) <= MAX_VALUES and all(-_MAX_INTEGER <= value <= _MAX_INTEGER for value in whole)


def dump(values: Mapping[str, Any] | str) -> bytes:
    """JSON bytes of values that are already clean."""
    return _dump(values)


def fields_of(source: object) -> Mapping[Any, Any]:
    """
    The attributes that an object stands for: a mapping, a dataclass, an attrs or msgspec object, or a pydantic model.

    Raises:
        InvalidEvent: for anything else.
    """
    if isinstance(source, Mapping):
        return source
    found = _record(source)
    if found is None:
        message = (
            f"attributes is a {type(source).__name__}, which has no named values. "
            "Pass a dict, a dataclass, an attrs or msgspec object, or a pydantic model."
        )
        if isinstance(source, str | int):  # an id, where other SDKs take one
            message += " Who did it goes into person=."
        raise InvalidEvent(message)
    return found


def text(value: str) -> str:
    """The string without lone surrogates, which UTF-8 cannot hold; each becomes U+FFFD."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _record(value: object) -> dict[str, Any] | None:
    if isinstance(value, type):
        return None
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        given = {name: getattr(value, field) for name, field in names}
        return {name: each for name, each in given.items() if each is not msgspec.UNSET}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if (fields := getattr(type(value), "__attrs_attrs__", None)) is not None:
        return {field.name: getattr(value, field.name) for field in fields}
    if hasattr(type(value), "model_fields") and callable(dump_model := getattr(value, "model_dump", None)):
        # Its warnings would print the value that is not of the declared type.
        dumped = dump_model(by_alias=True, warnings=False)
        return dumped if isinstance(dumped, dict) else None
    return None


class _Cleaner:
    """One walk over one event's attributes, bounded in depth and in number of values."""

    __slots__ = ("_left", "_omit", "not_finite", "replaced")

    def __init__(self, *, omit_not_finite: bool) -> None:
        self._omit = omit_not_finite
        self._left = MAX_VALUES
        self.replaced = 0
        self.not_finite = 0

    def mapping(self, source: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in source.items():
            before = self.not_finite
            cleaned = self.value(value, depth)
            if not (self._omit and cleaned is None and self.not_finite > before):
                out[self._key(key)] = cleaned
        return out

    def sequence(self, source: Any, depth: int) -> list[Any]:
        return [self.value(item, depth) for item in source]

    def value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            message = (
                f"attributes hold more than {MAX_VALUES:,} values. Send what a campaign needs, not the whole object."
            )
            raise InvalidEvent(message)
        if depth > MAX_DEPTH:
            message = f"attributes nest deeper than {MAX_DEPTH} levels, or contain themselves. Flatten them first."
            raise InvalidEvent(message)
        try:
            return self._convert(value, depth)
        except InvalidEvent:
            raise
        except Exception:  # noqa: BLE001 - the caller's object may raise anything from a property or __str__
            return self._stand_in(value)

    def _convert(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is dict:
            return self.mapping(value, depth + 1)
        if kind is list:
            return self.sequence(value, depth + 1)
        if (convert := _EXACT.get(kind)) is not None:
            return convert(self, value)
        if isinstance(value, enum.Enum):
            return self.value(value.value, depth + 1)
        for kinds, convert_kind in _SCALARS:
            if isinstance(value, kinds):
                return convert_kind(self, value)
        return self._compound(value, depth)

    def _compound(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self.mapping(value, depth + 1)
        if isinstance(value, (list, tuple, set, frozenset, deque, KeysView, ValuesView, ItemsView)):
            return self.sequence(value, depth + 1)
        if (fields := _record(value)) is not None:
            return self.mapping(fields, depth + 1)
        if _is_lazy_text(value):
            return text(str(value))
        return self._stand_in(value)

    def _key(self, key: Any) -> str:
        if type(key) is str:
            return self.text(key)
        cleaned = self.value(key, 1)
        return cleaned if isinstance(cleaned, str) else _dump(cleaned).decode()

    def _stand_in(self, value: object) -> str:
        self.replaced += 1
        # Asked of `type` itself: a metaclass may define a __name__ that raises.
        return f"<{_NAME_OF(type(value))}>"

    def text(self, value: str) -> str:
        # str(value) would recurse on a subclass whose __str__ returns itself, as Django's SafeString does. What only
        # says that it is a str is a proxy, as Django's SimpleLazyObject.
        plain = str.__str__(value if issubclass(type(value), str) else str(value))
        if plain.isascii():
            return plain
        repaired = text(plain)
        self.replaced += repaired != plain
        return repaired

    def integer(self, value: int) -> int:
        plain = int(value)
        if plain.bit_length() > _MAX_BITS:
            message = (
                "attributes hold a whole number of 308 digits or more. Send it as a string if it is an identifier."
            )
            raise InvalidEvent(message)
        return plain

    def real(self, value: Any) -> float | None:
        plain = float(value)
        if math.isfinite(plain):
            return plain
        self.not_finite += 1
        return None

    def decimal(self, value: decimal.Decimal) -> decimal.Decimal | None:
        plain = decimal.Decimal(str(value) if not issubclass(type(value), decimal.Decimal) else value)
        if plain.is_finite() and math.isfinite(float(plain)):  # a JSON reader that uses doubles must find a number
            return plain
        self.not_finite += 1
        return None


def _seconds(_: _Cleaner, value: dt.datetime) -> int:
    aware = value if value.utcoffset() is not None else value.replace(tzinfo=dt.UTC)
    return math.floor(aware.timestamp())


def _midnight(_: _Cleaner, value: dt.date) -> int:
    return int(dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC).timestamp())


def _str(_: _Cleaner, value: object) -> str:
    return text(str(value))


def _base64(_: _Cleaner, value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(value).decode()


_NAME_OF = type.__dict__["__name__"].__get__

# In this order: a bool is an int, a datetime is a date, and a numpy integer is a number but no int.
_SCALARS: tuple[tuple[Any, Callable[[_Cleaner, Any], Any]], ...] = (
    (str, _Cleaner.text),
    (bool, lambda _, value: bool(value)),
    (int, _Cleaner.integer),
    (float, _Cleaner.real),
    (decimal.Decimal, _Cleaner.decimal),
    (dt.datetime, _seconds),
    (dt.date, _midnight),
    (dt.time, lambda _, value: text(value.isoformat())),
    (dt.timedelta, lambda _, value: float(value.total_seconds())),
    ((uuid.UUID, pathlib.PurePath, ipaddress._IPAddressBase), _str),  # noqa: SLF001 - the stdlib's only common base
    ((bytes, bytearray, memoryview), _base64),
    (numbers.Integral, _Cleaner.integer),
    (numbers.Real, _Cleaner.real),
)

# The commonest types, without asking each of the above in turn.
_EXACT: dict[type, Callable[[_Cleaner, Any], Any]] = {
    type(None): lambda _, value: value,
    **{kinds: convert for kinds, convert in _SCALARS if isinstance(kinds, type)},
}


def _is_lazy_text(value: object) -> bool:
    # Django's lazy translations are no str until asked; told by name, so that Django is not imported.
    return any(
        kind.__module__ == "django.utils.functional" and kind.__name__ == "Promise" for kind in type(value).__mro__
    )
