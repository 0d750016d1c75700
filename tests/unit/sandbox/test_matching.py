"""What matches a pattern, and how close a miss came."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.matching import MISSING, differences, matches, mistake, nearest

ROW = {"name": "order", "n": 42, "tags": ["a", "b"], "deep": {"x": 1, "y": None}, "flag": True}


@pytest.mark.parametrize(
    "pattern",
    [
        {},
        {"name": "order"},
        {"deep": {"x": 1}},
        {"deep": {"y": None}},
        {"tags": ["a", "b"]},
        {"n": 42.0},
        {"n": {"$gt": 41}},
        {"n": {"$lt": 43}},
        {"n": {"$any": True}},
        {"name": {"$regex": "^o.*r$"}},
        {"name": {"$in": ["page", "order"]}},
        {"name": {"$contains": "rde"}},
        {"tags": {"$contains": ["b"]}},
        {"tags": {"$contains": "a"}},
    ],
    ids=str,
)
def test_a_part_matches_the_whole(pattern):
    """Members that a pattern leaves out may be anything."""
    assert matches(pattern, ROW)


@pytest.mark.parametrize(
    ("pattern", "path", "got"),
    [
        ({"name": "page"}, "name", "order"),
        ({"deep": {"x": 2}}, "deep.x", 1),
        ({"deep": {"z": None}}, "deep.z", MISSING),
        ({"tags": ["a"]}, "tags", ["a", "b"]),
        ({"n": "42"}, "n", 42),
        ({"n": {"$gt": 42}}, "n", 42),
        ({"name": {"$gt": 1}}, "name", "order"),
        ({"zip": {"$any": True}}, "zip", MISSING),
        ({"name": {"$regex": "^r"}}, "name", "order"),
        ({"tags": {"$contains": ["c"]}}, "tags", ["a", "b"]),
        ({"flag": 1}, "flag", True),
        ({"name": {"first": "o"}}, "name", "order"),
    ],
    ids=str,
)
def test_a_miss_names_the_place_and_the_value(pattern, path, got):
    """The difference is what a failing test prints."""
    assert [(diff.path, diff.got) for diff in differences(pattern, ROW)] == [(path, got)]


def test_the_nearest_has_the_same_name_and_the_fewest_differences():
    """An event of another name is never nearer than one of the same name."""
    rows = [
        {"seq": 1, "name": "order", "data": {"a": 0, "b": 0}},
        {"seq": 2, "name": "order", "data": {"a": 1, "b": 0}},
        {"seq": 3, "name": "page", "data": {"a": 1, "b": 1}},
    ]
    found = nearest({"name": "order", "data": {"a": 1, "b": 1}}, rows)
    assert [miss["event"]["seq"] for miss in found] == [2, 1, 3]
    assert found[0]["diff"] == [["data.b", 1, 0]]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ({"a": [{"$gte": 1}]}, "$gte is no operator. Known: $any"),
        ({"a": {"$regex": "("}}, "is no regular expression"),
        ({"a": {"b": {"$in": "x"}}}, "$in takes a list"),
    ],
    ids=str,
)
def test_a_mistake_in_a_pattern_is_found(pattern, says):
    """A typing mistake must not make a pattern that never matches."""
    assert says in str(mistake(pattern))
    assert mistake({"a": [{"$gt": 1}, {"$regex": "^a"}, "$5"]}) is None
