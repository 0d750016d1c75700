"""JSON laid out for reading: nothing in it changes but the spaces."""

from __future__ import annotations

import json

import pytest

from cio_middleware.sandbox.pretty import batch_items, pretty


def test_each_member_has_a_line():
    """Two spaces for each level; what is empty stays on its line."""
    text = '{"a":[1,{"b":{}}],"c":[],"d":"x: {y, z]"}'
    assert pretty(text) == ('{\n  "a": [\n    1,\n    {\n      "b": {}\n    }\n  ],\n  "c": [],\n  "d": "x: {y, z]"\n}')


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 9007199254740993, "e": 1e400, "z": -0.0, "long": ' + "9" * 5000 + "}",
        '{"a": 1, "a": 2, "__proto__": {"x": 1}}',
        r'{"s": "\ud800 é \"quoted\" \\", "u": "\u202e"}',
        '{"nan": NaN, "inf": -Infinity}',
        '"text"', "1", "null", "[]", "{}", " [ [ ] , { } ] ",
    ],
)  # fmt: skip
def test_every_token_survives(text):
    """Digits, escapes, and of two members with one name both."""
    assert "".join(pretty(text).split()) == "".join(text.split())


@pytest.mark.parametrize("text", ["", "{", "name=order", '{"a": }', "[" * 100_000, '{"a": 1}x', "\x00"])
def test_what_is_no_json_stays_as_it_is(text):
    """It is shown as it came."""
    assert pretty(text) == text
    assert batch_items(text) == []


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('{"batch": [ {"n": 1.50} , [2], "}" ]}', ['{"n": 1.50}', "[2]", '"}"']),
        ('{"other": {"batch": [1]}, "batch": [9007199254740993]}', ["9007199254740993"]),
        ('{"batch": [1], "batch": [2, 3]}', ["2", "3"]),
        ('{"batch": []}', []), ('{"batch": {}}', []), ("[]", []), ("{}", []), (' { "x" : 1 } ', []),
    ],
)  # fmt: skip
def test_the_items_of_a_batch_are_taken_out_as_they_were_written(text, items):
    """Of a repeated key the last one counts, as for whoever reads the JSON."""
    assert batch_items(text) == items


def test_a_large_payload_is_laid_out_at_once():
    """Half a megabyte takes a moment."""
    text = json.dumps({f"name {n}": [n, {"x": str(n)}] for n in range(15_000)})
    assert json.loads(pretty(text)) == json.loads(text)
