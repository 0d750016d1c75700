"""What a web app holds becomes JSON, or is replaced and counted, or is refused with a reason; it never raises else."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import json
import math
import numbers
import pathlib
import time
import types
import uuid
from typing import Any

import attrs
import msgspec
import pydantic
import pytest
import wrapt
from django.utils.functional import SimpleLazyObject, lazystr
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware import _values
from cio_middleware._values import MAX_DEPTH, MAX_VALUES
from cio_middleware.exceptions import InvalidEvent

CET = dt.timezone(dt.timedelta(hours=2))


class Color(enum.Enum):
    """An enum whose values are texts."""

    RED = "red"


class Level(enum.IntEnum):
    """An enum whose members are numbers."""

    HIGH = 3


class Plan(enum.StrEnum):
    """An enum whose members are texts."""

    PRO = "pro"


class Text(str):
    """A str subclass whose __str__ returns itself, as Django's SafeString does."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Number(int):
    """An int subclass."""


class Real(float):
    """A float subclass."""


class Money(decimal.Decimal):
    """A Decimal subclass."""


class Int64:
    """A number that is no int, as numpy's."""

    def __int__(self) -> int:
        return 7


numbers.Integral.register(Int64)


@dataclasses.dataclass
class Order:
    """A dataclass."""

    total: decimal.Decimal
    at: dt.datetime


@attrs.define
class Item:
    """An attrs object, with slots."""

    sku: str
    _count: int = 1


class Line(msgspec.Struct, rename="camel"):
    """A msgspec object whose names change on the wire."""

    unit_price: float
    sold_at: dt.date
    note: str | msgspec.UnsetType = msgspec.UNSET


class Cart(pydantic.BaseModel):
    """A pydantic model with an alias."""

    item_count: int = pydantic.Field(alias="itemCount")
    token: pydantic.SecretStr = pydantic.SecretStr("canary")


UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")

SURVIVES = {
    "str": ("x", "x"),
    "umlaut": ("Köln 日本 🎉", "Köln 日本 🎉"),
    "int": (3, 3),
    "float": (1.5, 1.5),
    "bool": (True, True),
    "none": (None, None),
    "beyond-a-double": (2**53 + 1, 2**53 + 1),
    "beyond-64-bits": (2**70, 2**70),
    "aware": (dt.datetime(2026, 1, 1, 12, tzinfo=CET), 1767261600),
    "naive-is-utc": (dt.datetime(2026, 1, 1, 10, 0, 0, 999_999), 1767261600),  # noqa: DTZ001
    "before-1970": (dt.datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=dt.UTC), -1),
    "first-instant": (dt.datetime.min.replace(tzinfo=CET), -62135596800 - 7200),
    "date": (dt.date(2026, 1, 1), 1767225600),
    "time": (dt.time(9, 30), "09:30:00"),
    "timedelta": (dt.timedelta(minutes=1, milliseconds=500), 60.5),
    "decimal": (decimal.Decimal("0.1"), 0.1),
    "decimal-subclass": (Money("19.90"), 19.9),
    "decimal-zero": (decimal.Decimal("0E+500"), 0.0),
    "uuid": (UUID, str(UUID)),
    "path": (pathlib.PurePosixPath("/a/b"), "/a/b"),
    "ip": (ipaddress.ip_address("::1"), "::1"),
    "enum": (Color.RED, "red"),
    "int-enum": (Level.HIGH, 3),
    "str-enum": (Plan.PRO, "pro"),
    "bytes": (b"\x00\xff", "AP8="),
    "bytearray": (bytearray(b"a"), "YQ=="),
    "set": ({3}, [3]),
    "frozenset": (frozenset({"a"}), ["a"]),
    "tuple": ((1, "a"), [1, "a"]),
    "deque": (collections.deque([1, 2]), [1, 2]),
    "dict-keys": ({"a": 1}.keys(), ["a"]),
    "dict-values": ({"a": 1}.values(), [1]),
    "dict-items": ({"a": 1}.items(), [["a", 1]]),
    "ordered-dict": (collections.OrderedDict(a=1), {"a": 1}),
    "mapping-proxy": (types.MappingProxyType({"a": Plan.PRO}), {"a": "pro"}),
    "str-subclass": (Text("x"), "x"),
    "int-subclass": (Number(3), 3),
    "float-subclass": (Real(1.5), 1.5),
    "numpy-like": (Int64(), 7),
    "fraction": (fractions.Fraction(1, 2), 0.5),
    "safe-string": (mark_safe("<b>"), "<b>"),
    "lazy-translation": (lazystr("hello"), "hello"),
    "lazy-object": (SimpleLazyObject(lambda: "hello"), "hello"),
    "proxied-bool": (wrapt.ObjectProxy(False), False),
    "proxied-decimal": (wrapt.ObjectProxy(decimal.Decimal("1.5")), 1.5),
    "dataclass": (Order(decimal.Decimal("1.5"), dt.datetime(1970, 1, 2, tzinfo=dt.UTC)), {"total": 1.5, "at": 86400}),
    "attrs": (Item("a"), {"sku": "a", "_count": 1}),
    "msgspec-rename": (Line(1.5, dt.date(1970, 1, 2)), {"unitPrice": 1.5, "soldAt": 86400}),
    "surrogate-pair": ("\ud83c\udf89", "🎉"),
    "nested": ({"a": [{"b": (1, {"c": {Plan.PRO}})}]}, {"a": [{"b": [1, {"c": ["pro"]}]}]}),
}


@pytest.mark.parametrize("nested", [False, True], ids=["alone", "nested"])
@pytest.mark.parametrize(("value", "expected"), SURVIVES.values(), ids=SURVIVES)
def test_a_value_that_json_can_say_survives(value, expected, nested):
    """Each kind of value has one JSON form, at the top and within containers, and none counts as replaced."""
    encoded = _values.encode({"v": [value] if nested else value})

    assert json.loads(encoded.json) == {"v": [expected] if nested else expected}
    replaced = 1 if expected == "🎉" and value != expected else 0
    assert (encoded.replaced, encoded.not_finite) == (replaced, 0)


def test_a_naive_datetime_is_utc_wherever_this_runs(monkeypatch):
    """The machine's zone does not matter: servers run in UTC, laptops do not."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        encoded = _values.encode({"at": dt.datetime(1970, 1, 2)})  # noqa: DTZ001
    finally:
        monkeypatch.undo()
        time.tzset()
    assert encoded.json == b'{"at":86400}'


def test_money_keeps_every_digit():
    """A Decimal is written as it is, not by way of a double."""
    assert _values.encode({"v": decimal.Decimal("1234567890.12345678901234567890")}).json == (
        b'{"v":1234567890.12345678901234567890}'
    )


class Hostile:
    """Raises whatever is done with it."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __iter__ = __len__ = __hash__ = __eq__ = __bool__ = __str__  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Liar:
    """Says that it is a str, and is none."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What isinstance asks for."""
        return str

    def __str__(self) -> str:
        return "told"


class Thrower:
    """Raises when it is asked for its class."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What isinstance asks for."""
        raise RuntimeError


class Nameless(type):
    """A metaclass whose classes have a name that raises."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError


class OfNameless(metaclass=Nameless):
    """Its type's name cannot be asked for in the usual way."""


@dataclasses.dataclass
class Broken:
    """A dataclass with a property that raises."""

    x: int = 1

    def __getattribute__(self, name: str) -> Any:
        if name == "x":
            raise RuntimeError
        return super().__getattribute__(name)


class BrokenStr(str):
    """A str that cannot be asked for its length or its bytes."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        """Fail."""
        raise RuntimeError

    isascii = __len__ = __str__ = encode  # type: ignore[assignment]


REPLACED = {
    "object": (object(), "<object>"),
    "hostile": (Hostile(), "<Hostile>"),
    "thrower": (Thrower(), "<Thrower>"),
    "nameless": (OfNameless(), "<OfNameless>"),
    "broken-dataclass": (Broken(), "<Broken>"),
    "class": (Order, "<type>"),
    "exception": (ValueError("canary"), "<ValueError>"),
    "complex": (1j, "<complex>"),
    "array": (array.array("b", [1]), "<array>"),
    "secret": (pydantic.SecretStr("canary"), "<SecretStr>"),
    "function": (len, "<builtin_function_or_method>"),
    "surrogate": ("a\ud800b", "a�b"),
    "int-enum-of-object": (enum.Enum("Odd", {"A": object()}).A, "<object>"),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize(("value", "expected"), REPLACED.values(), ids=REPLACED)
def test_a_value_without_meaning_in_json_is_replaced_and_counted(value, expected):
    """What JSON cannot say, or what raises when it is looked at, becomes its type's name; its repr is never asked."""
    encoded = _values.encode({"v": value, "w": 1})

    assert json.loads(encoded.json) == {"v": expected, "w": 1}
    assert encoded.replaced == 1


@pytest.mark.parametrize("value", [Liar(), BrokenStr("x")], ids=["liar", "broken-str"])
def test_what_only_pretends_to_be_text_does_no_harm(value):
    """An object that lies about its class, or a str with broken methods, ends as some text."""
    assert isinstance(json.loads(_values.encode({"v": value}).json)["v"], str)


KEYS = {
    "int": (1, "1"),
    "float": (1.5, "1.5"),
    "bool": (True, "true"),
    "none": (None, "null"),
    "date": (dt.date(1970, 1, 2), "86400"),
    "uuid": (UUID, str(UUID)),
    "tuple": ((1, "a"), '[1,"a"]'),
    "bytes": (b"a", "YQ=="),
    "str-enum": (Plan.PRO, "pro"),
    "str-subclass": (Text("x"), "x"),
    "umlaut": ("ä", "ä"),
    "surrogate": ("\ud800", "�"),
    "object": (object, "<type>"),
    "empty": ("", ""),
}


@pytest.mark.parametrize("nested", [False, True], ids=["top", "nested"])
@pytest.mark.parametrize(("key", "expected"), KEYS.values(), ids=KEYS)
def test_a_key_becomes_text_by_the_same_rules(key, expected, nested):
    """A key that is no string is written as its value would be, at the top as within."""
    attributes = {"n": {key: 1}} if nested else {key: 1}
    wanted: Any = {expected: 1}
    assert json.loads(_values.encode(attributes).json) == ({"n": wanted} if nested else wanted)


NOT_FINITE = {
    "nan": math.nan,
    "infinity": -math.inf,
    "subclass": Real("inf"),
    "decimal-nan": decimal.Decimal("NaN"),
    "decimal-snan": decimal.Decimal("sNaN"),
    "decimal-infinity": decimal.Decimal("Infinity"),
    "beyond-a-double": decimal.Decimal("1E+400"),
    "just-beyond-a-double": decimal.Decimal("1.8E+308"),
}


@pytest.mark.parametrize("value", NOT_FINITE.values(), ids=NOT_FINITE)
def test_a_number_that_is_not_finite_is_null_or_left_out_and_counted(value):
    """An event says null; an identify leaves the key out, since null would delete the attribute."""
    encoded = _values.encode({"v": value, "n": None, "l": [value, 1.5]})
    assert json.loads(encoded.json) == {"v": None, "n": None, "l": [None, 1.5]}
    assert encoded.not_finite == 2

    flat = _values.encode({"v": value, "n": None, "text": "null", "f": 1.5})
    assert json.loads(flat.json) == {"v": None, "n": None, "text": "null", "f": 1.5}
    assert flat.not_finite == 1

    cleaned = _values.clean({"v": value, "n": None, "d": {"v": value}}, omit_not_finite=True)
    assert cleaned.values == {"n": None, "d": {}}
    assert cleaned.not_finite == 2


def loop():
    """Return a dict that contains itself."""
    value: dict[str, Any] = {"a": 1}
    value["self"] = [value]
    return value


def deep(levels):
    """Return containers nested so deep, the outermost counted."""
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"v": value}


def bushy():
    """Return few objects that unfold into two to the power of nineteen."""
    value: list[Any] = []
    for _ in range(18):
        value = [value, value]
    return {"v": value}


class BadMapping(dict):
    """Raises when it is read."""

    def items(self) -> Any:
        """Fail with something that must not be shown."""
        message = "canary"
        raise RuntimeError(message)


REFUSED = {
    "cycle": (loop(), "contain themselves"),
    "depth": (deep(MAX_DEPTH + 1), f"deeper than {MAX_DEPTH} levels"),
    "very-deep": (deep(100_000), f"deeper than {MAX_DEPTH} levels"),
    "bushy": (bushy(), "more than 20,000 values"),
    "many-flat": (dict.fromkeys(map(str, range(MAX_VALUES + 1)), 1), "more than 20,000 values"),
    "many-nested": ({"v": [1] * MAX_VALUES}, "more than 20,000 values"),
    "digits-flat": ({"v": 10**400}, "308 digits"),
    "digits-nested": ({"v": [10**400]}, "308 digits"),
    "digits-unwritable": ({"v": 10**5000}, "308 digits"),
    "raises": (BadMapping(), "RuntimeError"),
}


@pytest.mark.parametrize(("attributes", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_bounded_is_refused_with_a_reason(attributes, reason):
    """Cycles, depth, sheer number and numbers that no double holds are InvalidEvent, and so is a broken mapping."""
    with pytest.raises(InvalidEvent, match=reason) as caught:
        _values.encode(attributes)
    assert "canary" not in str(caught.value)


def test_what_is_just_within_the_bounds_passes():
    """The bounds themselves are allowed."""
    assert json.loads(_values.encode(deep(MAX_DEPTH)).json) == deep(MAX_DEPTH)
    many = dict.fromkeys(map(str, range(MAX_VALUES)), 1)
    assert json.loads(_values.encode(many).json) == many
    assert json.loads(_values.encode({"ä" + key: [] for key in many}).json)
    assert json.loads(_values.encode({"v": 2**1023 - 1}).json) == {"v": 2**1023 - 1}


def test_nothing_is_consumed_and_no_query_is_run():
    """Generators, iterators and querysets are not read: what is read here would be missing there, or hit a database."""
    import django
    from django.conf import settings
    from django.db.models.query import QuerySet

    if not settings.configured:
        settings.configure()
    assert django.VERSION
    generator = (number for number in range(3))
    iterator = iter([1, 2])

    encoded = _values.encode({"g": generator, "i": iterator, "m": map(str, iterator), "q": QuerySet()})

    assert json.loads(encoded.json) == {"g": "<generator>", "i": "<list_iterator>", "m": "<map>", "q": "<QuerySet>"}
    assert list(generator) == [0, 1, 2]
    assert list(iterator) == [1, 2]


def test_later_changes_do_not_reach_what_was_encoded():
    """An event is what it was at capture, and what was cleaned holds none of the caller's containers."""
    attributes: dict[str, Any] = {"items": [{"sku": "a"}]}
    encoded, cleaned = _values.encode(attributes), _values.clean(attributes)

    attributes["items"][0]["sku"] = "b"
    attributes["items"].append(1)

    assert json.loads(encoded.json) == cleaned.values == {"items": [{"sku": "a"}]}


SOURCES = {
    "dict": ({"a": 1}, {"a": 1}),
    "dataclass": (Order(decimal.Decimal(1), dt.datetime(1970, 1, 2, tzinfo=dt.UTC)), {"total": 1, "at": 86400}),
    "attrs": (Item("a"), {"sku": "a", "_count": 1}),
    "msgspec": (Line(1.5, dt.date(1970, 1, 2), "n"), {"unitPrice": 1.5, "soldAt": 86400, "note": "n"}),
    "pydantic": (Cart(itemCount=2), {"itemCount": 2, "token": "<SecretStr>"}),
}


@pytest.mark.parametrize(("source", "expected"), SOURCES.values(), ids=SOURCES)
def test_attributes_may_be_an_object(source, expected):
    """A dataclass, an attrs or msgspec object, or a pydantic model stands for its fields, by their wire names."""
    assert json.loads(_values.encode(_values.fields_of(source)).json) == expected


@pytest.mark.parametrize("source", [[("a", 1)], "text", 5, object(), Order, Cart], ids=repr)
def test_attributes_that_have_no_names_are_refused(source):
    """Anything else is InvalidEvent, and the message names what to pass."""
    with pytest.raises(InvalidEvent, match="Pass a dict, a dataclass"):
        _values.fields_of(source)


@pytest.mark.parametrize("source", ["ada", 42], ids=repr)
def test_an_id_in_the_place_of_attributes_is_told_where_it_belongs(source):
    """`track("order_placed", "ada")` means a person, as other SDKs take it, so the message says how to name one."""
    with pytest.raises(InvalidEvent, match=r"Who did it goes into person=\.$"):
        _values.fields_of(source)


def test_a_model_with_a_wrong_value_warns_nobody():
    """Pydantic would warn with the value in the text; a warning is an error here."""
    cart = Cart.model_construct(item_count="canary", token=pydantic.SecretStr("x"))
    assert json.loads(_values.encode(_values.fields_of(cart)).json)["itemCount"] == "canary"


# st.text would leave the lone surrogates out.
TEXTS = st.lists(st.characters() | st.sampled_from("\ud800\udc00"), max_size=8).map("".join) | st.sampled_from(
    ["null", "\x00", "\ud800", '"\\']
)
PLAIN = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | TEXTS
TREES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))


def as_json(value: Any) -> Any:
    """Say what JSON would hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return _values.text(value)
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {as_json(key): as_json(item) for key, item in value.items()}
    return value


@given(st.dictionaries(TEXTS, PLAIN, max_size=8) | st.dictionaries(TEXTS, TREES, max_size=4))
def test_plain_data_arrives_as_json_would_have_it(attributes):
    """For strings, numbers, booleans, lists and dicts our bytes mean what the standard library's would."""
    assert json.loads(_values.encode(attributes).json) == as_json(attributes)


@given(st.dictionaries(TEXTS, PLAIN, max_size=8))
def test_the_fast_path_and_the_walk_agree(attributes):
    """Most events take the short way; it says the same bytes as the long one, or leaves the event to it."""
    cleaned = _values.clean(attributes)
    plain = _values.encode_plain(attributes)
    if plain is None:
        assert cleaned.replaced or cleaned.not_finite or not attributes
    else:
        assert plain == _values.dump(cleaned.values)
        assert (cleaned.replaced, cleaned.not_finite) == (0, 0)


ANYTHING = st.one_of(
    PLAIN, st.binary(max_size=5), st.datetimes(), st.dates(), st.times(), st.timedeltas(), st.decimals(),
    st.fractions(), st.uuids(), st.complex_numbers(),
    st.builds(object), st.builds(Broken), st.builds(Money, st.integers()),
)  # fmt: skip
CONTAINERS = st.recursive(
    ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        TEXTS | st.integers() | st.decimals(allow_nan=False) | st.dates() | st.floats(), CONTAINERS, max_size=4
    )
)
def test_whatever_is_given_ends_as_json(attributes):
    """No value at all makes encoding raise anything but InvalidEvent, or write what JSON does not have."""
    json.loads(_values.encode(attributes).json, parse_constant=pytest.fail)
