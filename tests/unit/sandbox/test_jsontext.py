"""A body is read once, and every part of it weighs what was sent."""

from __future__ import annotations

import json

import pytest

from cio_middleware.sandbox.jsontext import NotJson, compact_size, has_non_finite, read


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, {"b": null}], "c": "x"}',
        ' { "batch" : [ 1 , 2 ] , "more" : true } ',
        "[]",
        '"text"',
        "{}",
        '{"batch": []}',
        '{"n": 9007199254740993}',
        '{"a": 1, "a": 2}',
        '{"half": "\\ud800"}',
    ],
)
def test_a_body_parses_as_the_standard_library_parses_it(text):
    """Walking the outer levels by hand changes nothing about the value."""
    assert read(text.encode(), 64).value == json.loads(text)


def test_a_part_weighs_what_was_sent_and_not_what_it_would_be_re_encoded_as():
    """Spaces, escapes and multi-byte characters all count as they travelled."""
    item = '{ "name" : "\\u00e9 é" }'
    document = read(f'{{"data":  {item} , "batch": [ {item} ,1]}}'.encode(), 64)

    assert document.members == {"data": len(item.encode())}
    assert document.items == (len(item.encode()), 1)


def test_the_last_of_two_batches_counts():
    """Repeated keys are legal JSON, and sizes follow the value that wins."""
    document = read(b'{"batch": [1, 2, 3], "batch": [10]}', 64)
    assert (document.value, document.items) == ({"batch": [10]}, (2,))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a" 1}', "not JSON"),
        (b"[1 2]", "not JSON"),
        (b"{} {}", "Extra data"),
        (b"{1: 2}", "property name"),
        (b'{"batch": [1', "delimiter"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "no double holds: 1e999"),
        (b'{"batch": [-1E400]}', "no double holds: -1E400"),
        (b'{"a": ' + b"9" * 4301 + b"}", "more than 4300 digits"),
        (b'{"batch": [{"a": [' + b"9" * 5000 + b"]}]}", "more than 4300 digits"),
        (b'{"a": "\xff"}', "not UTF-8 (byte 7)"),
        (b"[" * 65 + b"]" * 65, "more than 64 levels"),
        (b"[" * 200_000, "more than 64 levels"),
        (b'{"batch": [' + b"[" * 63 + b"]" * 63 + b"]}", "more than 64 levels"),
    ],
)
def test_what_is_no_json_is_refused_and_says_where(body, says):
    """A refusal names the fault, also for nesting that would exhaust a stack."""
    with pytest.raises(NotJson, match=says.replace("(", r"\(").replace(")", r"\)")):
        read(body, 64)


def test_an_integer_keeps_its_digits_as_far_as_python_reads_them():
    """4300 of them, which is far beyond what a double holds; the largest double is read, too."""
    assert read(b"9" * 4300, 64).value == int("9" * 4300)
    assert read(b"1.7976931348623157e308", 64).value == 1.7976931348623157e308


def test_what_no_double_holds_may_be_kept_as_its_text():
    """It is found at any depth, and leaves again as a string."""
    value = read(b'{"a": [NaN, 1e999, -Infinity, 1.5]}', 64, keep_non_finite=True).value
    assert json.dumps(value) == '{"a": ["NaN", "1e999", "-Infinity", 1.5]}'
    assert has_non_finite(value)
    assert not has_non_finite({"a": ["NaN", {"b": 1e308}]})


def test_nesting_up_to_the_limit_is_read():
    """Exactly the limit is no error."""
    assert read(b"[" * 64 + b"]" * 64, 64).size == 128


@pytest.mark.parametrize(("value", "size"), [("é", 2), ("", 0), (12, 2), ({"é": [1, 2]}, 12), (True, 4)])
def test_a_value_weighs_its_utf8_bytes(value, size):
    """A string weighs its own bytes without quotes, anything else its compact JSON."""
    assert compact_size(value) == size
