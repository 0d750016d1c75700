"""Every limit of Customer.io's at n and at n + 1, in bytes of UTF-8, and every wrong kind of value."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from typing import Any

import pytest
from django.utils.safestring import SafeString
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware.exceptions import EventTooLarge, InvalidEvent
from cio_middleware.wire import limits

SEVEN = dt.timezone(dt.timedelta(hours=7))

NAMES: dict[str, tuple[Any, str]] = {
    "plain": ("order_placed", ""),
    "longest": ("a" * 100, ""),
    "one-more": ("a" * 101, "the event's name is 101 bytes long, Customer.io takes 100"),
    "longest-multi-byte": ("日" * 33 + "a", ""),
    "one-more-multi-byte": ("日" * 33 + "aa", "101 bytes"),
    "longest-emoji": ("🎉" * 25, ""),
    "surrogates": ("\ud800" * 34, "102 bytes"),
    "empty": ("", "name is blank"),
    "blank": (" \t\n", "name is blank"),
    "none": (None, "name is a NoneType"),
    "number": (5, "name is a int"),
    "bytes": (b"order", "name is a bytes"),
    "list": (["order"], "name is a list"),
    "dict": ({}, "name is a dict"),
    "safe-string": (SafeString("order"), ""),
}


@pytest.mark.parametrize(("name", "reason"), NAMES.values(), ids=NAMES)
def test_the_name_of_an_event_is_a_short_string(name, reason):
    """A name is checked each time, also once the same name was refused or remembered."""
    for _ in range(2):
        if reason:
            with pytest.raises(InvalidEvent, match=reason):
                limits.name_json(name)
        else:
            assert json.loads(limits.name_json(name)) == name


def test_a_name_with_a_lone_surrogate_is_repaired():
    """UTF-8 cannot hold it, and an event is worth more than its last letter."""
    assert limits.name_json("a\ud800") == '"a�"'.encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_name_is_taken_if_and_only_if_it_fits(name):
    """Not blank, and at most 100 bytes."""
    fits = bool(name.strip()) and len(name.encode()) <= 100
    try:
        encoded = limits.name_json(name)
    except InvalidEvent:
        assert not fits
    else:
        assert fits
        assert json.loads(encoded) == name


PAGES: dict[str, tuple[Any, str]] = {
    "url": ("https://shop.test/a?b", ""),
    "longest": ("https://shop.test/" + "é" * 241, ""),
    "too-long": ("https://shop.test/" + "é" * 241 + "a", "page's name is 501 bytes long"),
    "blank": (" ", "page's name is blank"),
    "none": (None, "page's name is a NoneType"),
    "list": ([], "page's name is a list"),
    "safe-string": (SafeString("/"), ""),
}


@pytest.mark.parametrize(("name", "reason"), PAGES.values(), ids=PAGES)
def test_the_name_of_a_page_is_its_url(name, reason):
    """It may be as long as an error of the vendor's list says, which is longer than an event's."""
    if reason:
        with pytest.raises(InvalidEvent, match=reason):
            limits.page_name_json(name)
    else:
        assert json.loads(limits.page_name_json(name)) == name


BROWSERS: dict[str, tuple[Any, str]] = {
    "plain": ("b-1", ""),
    "longest": ("a" * 150, ""),
    "one-more": ("a" * 151, "anonymous_id is 151 bytes long"),
    "longest-multi-byte": ("日" * 50, ""),
    "one-more-multi-byte": ("日" * 50 + "a", "151 bytes"),
    "empty": ("", "empty or no string"),
    "blank": (" " * 5, "empty or no string"),
    "none": (None, "empty or no string"),
    "number": (5, "empty or no string"),
    "safe-string": (SafeString("b"), ""),
}


@pytest.mark.parametrize(("anonymous_id", "reason"), BROWSERS.values(), ids=BROWSERS)
def test_an_anonymous_id_is_like_any_identifier(anonymous_id, reason):
    """A string of at most 150 bytes, plain, since the encoder takes no subclass."""
    if reason:
        with pytest.raises(InvalidEvent, match=reason) as caught:
            limits.check_anonymous_id(anonymous_id)
        assert "aaa" not in str(caught.value)
    else:
        assert limits.check_anonymous_id(anonymous_id) == anonymous_id
        assert type(limits.check_anonymous_id(anonymous_id)) is str


@pytest.mark.parametrize("event_id", [None, 5, b"0" * 26, "", "ada", "8" + "0" * 25, "0" * 25 + "\n"], ids=repr)
def test_an_event_id_is_a_ulid(event_id):
    """Anything else would not be recognised when it comes again."""
    with pytest.raises(InvalidEvent, match="event_id is no ULID"):
        limits.check_event_id(event_id)
    assert type(limits.check_event_id(SafeString("0" * 26))) is str


TIMES: dict[str, tuple[Any, Any]] = {
    "seconds": (1_700_000_000, 1_700_000_000),
    "float": (1_700_000_000.9, 1_700_000_000),
    "earliest": (1_000_000_000, 1_000_000_000),
    "latest": (99_999_999_999, 99_999_999_999),
    "aware": (dt.datetime(2026, 1, 1, 7, tzinfo=SEVEN), 1_767_225_600),
    "naive-is-utc": (dt.datetime(2026, 1, 1), 1_767_225_600),  # noqa: DTZ001
    "milliseconds": (1_700_000_000_000, "1700000000000 looks like milliseconds"),
    "just-milliseconds": (100_000_000_000, "looks like milliseconds"),
    "nanoseconds": (1_700_000_000_000_000_000, "of more than 18 digits looks like milliseconds"),
    "endless": (10**400, "of more than 18 digits looks like milliseconds"),
    "infinite": (math.inf, "looks like milliseconds"),
    "minus-infinite": (-math.inf, "lies before 2001-09-09"),
    "minus-endless": (-(10**400), "lies before 2001-09-09"),
    "too-early": (999_999_999, "lies before 2001-09-09"),
    "zero": (0, "lies before 2001-09-09"),
    "old-date": (dt.datetime(1999, 1, 1, tzinfo=dt.UTC), "lies before 2001-09-09"),
    "nan": (math.nan, "is not a number"),
    "bool": (True, "timestamp is a bool"),
    "text": ("2026-01-01", "timestamp is a str"),
    "date": (dt.date(2026, 1, 1), "timestamp is a date"),
    "decimal": (decimal.Decimal(1_700_000_000), "timestamp is a Decimal"),
    "none": (None, "timestamp is a NoneType"),
}


@pytest.mark.parametrize(("timestamp", "result"), TIMES.values(), ids=TIMES)
def test_a_timestamp_is_unix_seconds(timestamp, result):
    """Milliseconds are refused with advice: Customer.io would take them for a date far ahead."""
    if isinstance(result, str):
        with pytest.raises(InvalidEvent, match=result):
            limits.unix_seconds(timestamp)
    else:
        assert limits.unix_seconds(timestamp) == result
        assert type(limits.unix_seconds(timestamp)) is int


ATTRIBUTES: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, ""),
    "most": ({str(number): number for number in range(300)}, ""),
    "one-more": (
        {str(number): number for number in range(301)},
        "301 attributes in one identify, Customer.io takes 300",
    ),
    "name-longest": ({"a" * 150: 1}, ""),
    "name-one-more": ({"a" * 151: 1}, "name of an attribute is 151 bytes long, Customer.io takes 150"),
    "name-longest-multi-byte": ({"日" * 50: 1}, ""),
    "name-one-more-multi-byte": ({"日" * 50 + "a": 1}, "151 bytes"),
    "name-empty": ({"": 1}, "blank name"),
    "name-blank": ({"  ": 1}, "blank name"),
    "value-longest": ({"bio": "a" * 1000}, ""),
    "value-one-more": ({"bio": "a" * 1001}, "value of attribute 'bio' is 1001 bytes long, Customer.io takes 1000"),
    "value-longest-multi-byte": ({"bio": "日" * 333 + "a"}, ""),
    "value-one-more-multi-byte": ({"bio": "日" * 333 + "aa"}, "1001 bytes"),
    "value-object-longest": ({"x": ["a" * 996]}, ""),
    "value-object-one-more": ({"x": ["a" * 997]}, "1001 bytes"),
    "value-decimal": ({"x": decimal.Decimal("1." + "1" * 999)}, "1001 bytes"),
    "value-null": ({"x": None}, ""),
}


@pytest.mark.parametrize(("values", "reason"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_attributes_of_a_person_keep_the_vendor_s_limits(values, reason):
    """Number, names and values; the message holds sizes and the attribute's name, never its value."""
    if reason:
        with pytest.raises(InvalidEvent, match=reason) as caught:
            limits.check_person_attributes(values)
        assert "aaa" not in str(caught.value)
    else:
        limits.check_person_attributes(values)


def test_a_size_at_the_limit_passes_and_one_byte_more_does_not():
    """The error is of its own kind, and says both numbers."""
    limits.check_size(32_000, 32_000, "event")
    with pytest.raises(EventTooLarge, match=r"this event is 32,001 bytes long, the limit is 32,000\."):
        limits.check_size(32_001, 32_000, "event")
