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

_PLAIN = frozenset({str, int, float, bool, type(None)})
_STR_ONLY = frozenset({str})
_dump = msgspec.json.Encoder(decimal_format="number").encode


class Encoded(NamedTuple):
    """A JSON object as bytes, and how many values in it had to be replaced or were not finite numbers."""

    json: bytes
    replaced: int = 0
    not_finite: int = 0


class Cleaned(NamedTuple):
    """The same as JSON-ready values, for verbs that look at single attributes."""

    values: dict[str, Any]
    replaced: int = 0
    not_finite: int = 0


def encode(attributes: Mapping[Any, Any]) -> Encoded:
    """
    Attributes as a JSON object. Numbers that are not finite become null.

    Raises:
        InvalidEvent: nested deeper than 20 levels (or within themselves), more than 20,000 values, or a number of more
            than 308 digits.
    """
    if type(attributes) is dict and _STR_ONLY.issuperset(map(type, attributes)):
        kinds = set(map(type, attributes.values()))
        if kinds <= _PLAIN:
            try:
                raw = _dump(attributes)
            except (UnicodeEncodeError, OverflowError, ValueError):
                pass
            else:
                # msgspec writes NaN and infinity as null: only then is a closer look needed to count them.
                if float not in kinds or b"null" not in raw:
                    return Encoded(raw)
    cleaned = clean(attributes)
    return Encoded(dump(cleaned.values), cleaned.replaced, cleaned.not_finite)


def clean(attributes: Mapping[Any, Any], *, omit_not_finite: bool = False) -> Cleaned:
    """Attributes as values that JSON has, with the same rules and errors as `encode`."""
    cleaner = _Cleaner(omit_not_finite=omit_not_finite)
    values = cleaner.mapping(attributes, 1)
    return Cleaned(values, cleaner.replaced, cleaner.not_finite)


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
        return {name: getattr(value, field) for name, field in names}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if (fields := getattr(type(value), "__attrs_attrs__", None)) is not None:
        return {field.name: getattr(value, field.name) for field in fields}
    if hasattr(type(value), "model_fields") and callable(dump_model := getattr(value, "model_dump", None)):
        dumped = dump_model(by_alias=True)
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
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.value(value.value, depth + 1)
        for kinds, convert in _SCALARS:
            if isinstance(value, kinds):
                return convert(self, value)
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
        if type(key) is str and key.isascii():
            return key
        cleaned = self.value(key, 1)
        return cleaned if isinstance(cleaned, str) else _dump(cleaned).decode()

    def _stand_in(self, value: object) -> str:
        self.replaced += 1
        return f"<{type(value).__name__}>"

    def text(self, value: str) -> str:
        # str(value) would recurse on a subclass whose __str__ returns itself, as Django's SafeString does.
        plain = str.__str__(value)
        if plain.isascii():
            return plain
        repaired = text(plain)
        self.replaced += repaired != plain
        return repaired

    def integer(self, value: int) -> int:
        plain = int(value)
        if plain.bit_length() > _MAX_BITS:
            message = (
                "attributes hold a whole number of more than 308 digits. Send it as a string if it is an identifier."
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
        if value.is_finite() and value.adjusted() <= 308:  # the largest exponent of a double
            return value
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


# In this order: a datetime is a date, and a numpy integer is a number but no int.
_SCALARS: tuple[tuple[Any, Callable[[_Cleaner, Any], Any]], ...] = (
    (str, _Cleaner.text),
    (int, _Cleaner.integer),
    (float, _Cleaner.real),
    (decimal.Decimal, _Cleaner.decimal),
    (dt.datetime, _seconds),
    (dt.date, _midnight),
    (dt.time, lambda _, value: value.isoformat()),
    (dt.timedelta, lambda _, value: value.total_seconds()),
    ((uuid.UUID, pathlib.PurePath, ipaddress._IPAddressBase), _str),  # noqa: SLF001 - the stdlib's only common base
    ((bytes, bytearray, memoryview), _base64),
    (numbers.Integral, _Cleaner.integer),
    (numbers.Real, _Cleaner.real),
)


def _is_lazy_text(value: object) -> bool:
    # Django's lazy translations are no str until asked; told by name, so that Django is not imported.
    return any(
        kind.__module__ == "django.utils.functional" and kind.__name__ == "Promise" for kind in type(value).__mro__
    )
