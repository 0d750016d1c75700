"""
Compare rows with what a test waits for, and say how close the others came.

A pattern is a subset: members it does not name may be anything; lists are exact. Where a plain value stands,
an operator may stand
instead: ``{"$any": true}``, ``{"$regex": "^a"}``, ``{"$gt": 1}``, ``{"$lt": 1}``, ``{"$contains": […]}``,
``{"$in": […]}``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MISSING = "(missing)"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where a row is not what was expected."""

    path: str
    expected: Any
    got: Any


def differences(pattern: Any, value: Any, path: str = "") -> Iterator[Difference]:
    """Yield every place where the value does not fit; nothing when it matches."""
    operator = _operator(pattern)
    if operator is not None:
        name, operand = operator
        if not OPERATORS[name](operand, value):
            yield Difference(path, pattern, value)
    elif isinstance(pattern, dict):
        if not isinstance(value, dict):
            yield Difference(path, pattern, value)
            return
        for key, expected in pattern.items():
            yield from differences(expected, value.get(key, MISSING), f"{path}.{key}".lstrip("."))
    elif not _same(pattern, value):
        yield Difference(path, pattern, value)


def matches(pattern: Any, value: Any) -> bool:
    """Return True when the value fits the pattern."""
    return next(differences(pattern, value), None) is None


def mistake(pattern: Any) -> str | None:
    """Return what is wrong with a pattern that could never match, as a sentence that says what to type."""
    if isinstance(pattern, list):
        return next((found for part in pattern if (found := mistake(part))), None)
    if not isinstance(pattern, dict):
        return None
    for key, operand in pattern.items():
        if key.startswith("$") and key not in OPERATORS:
            return f"{key:.80} is no operator. Known: {', '.join(OPERATORS)}"
        if key == "$regex" and not _compiles(operand):
            return f'$regex {operand!r:.80} is no regular expression. Type a string such as "^order_"'
        if key == "$in" and not isinstance(operand, list):
            return f"$in takes a list, not {operand!r:.80}"
    return next((found for part in pattern.values() if (found := mistake(part))), None)


def _compiles(expression: Any) -> bool:
    try:
        re.compile(expression)
    except (re.error, TypeError, ValueError, RecursionError, OverflowError):
        return False
    return True


def nearest(pattern: dict[str, Any], rows: Iterable[dict[str, Any]], most: int = 3) -> list[dict[str, Any]]:
    """Return the rows that came closest, with their differences: the same name first, then the fewest."""
    judged = [(row, list(differences(pattern, row))) for row in rows]
    judged.sort(key=lambda pair: (any(diff.path == "name" for diff in pair[1]), len(pair[1]), -pair[0]["seq"]))
    return [
        {"event": row, "diff": [[diff.path, diff.expected, diff.got] for diff in diffs]} for row, diffs in judged[:most]
    ]


def _operator(pattern: Any) -> tuple[str, Any] | None:
    if isinstance(pattern, dict) and len(pattern) == 1:
        name, operand = next(iter(pattern.items()))
        if name in OPERATORS:
            return name, operand
    return None


def _same(expected: Any, got: Any) -> bool:
    # In JSON true is not 1, and in Python it is.
    return isinstance(expected, bool) == isinstance(got, bool) and bool(expected == got)


def _contains(wanted: Any, got: Any) -> bool:
    if isinstance(got, list):
        wanted = wanted if isinstance(wanted, list) else [wanted]
        return all(any(matches(part, member) for member in got) for part in wanted)
    return isinstance(got, str) and isinstance(wanted, str) and wanted in got


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(operand: Any, got: Any) -> bool:
        try:
            return compare(got, operand)
        except TypeError:
            return False

    return test


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$any": lambda _, got: got != MISSING,
    "$regex": lambda expression, got: isinstance(got, str) and re.search(expression, got) is not None,
    "$gt": _ordered(lambda got, limit: bool(got > limit)),
    "$lt": _ordered(lambda got, limit: bool(got < limit)),
    "$in": lambda choices, got: any(_same(choice, got) for choice in choices),
    "$contains": _contains,
}
