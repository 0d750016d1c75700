"""
The filter language of the page, of the command line and of ``q=``: which rows somebody is looking for.

``name:order_* person:ada is:rejected data.total:>100 since:5m "free text"``: every term must hold, and a ``-`` before
one turns it round. Case never counts; ``*`` and ``?`` are wildcards. `parse` reads a text, `Query.takes` asks a row. No
clock and no store lives here: the time by which ``since:5m`` is meant is an argument.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import translate
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.timespec import NoMoment, moment
from cio_middleware.sandbox.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cio_middleware.sandbox.rows import EventRow

    Test = Callable[[EventRow, Mapping[str, Any]], bool]

LONGEST = 2000
"""Characters of one filter at most."""

MOST_TERMS = 50

EVENTS = frozenset({"event", "page", "screen"})
"""Kinds whose attributes are data of what happened; those of all others are what somebody or something is."""

EXAMPLES = {
    "name": "name:order_*",
    "kind": "kind:identify",
    "person": "person:ada",
    "is": "is:rejected",
    "has": "has:trace",
    "trace": "trace:4bf9",
    "route": "route:/checkout",
    "code": "code:W-ms-timestamp",
    "status": "status:429",
    "since": "since:5m",
    "before": "before:12:04",
    "attr.": "attr.plan:pro",
    "data.": "data.total:>100",
}
"""Every key with a term that uses it; those that end in a dot take a path."""


class BadQuery(ValueError):
    """A filter that cannot be read; the message says what to type."""


@dataclass(frozen=True, slots=True)
class Term:
    """
    One condition.

    Attributes:
        text: As it was typed, its ``-`` included.
        negated: True when rows that fit are left out.
        test: The condition itself, given a row and its context.
    """

    text: str
    negated: bool
    test: Test

    def takes(self, row: EventRow, context: Mapping[str, Any]) -> bool:
        """Return True when the row fulfils the condition."""
        return self.test(row, context) is not self.negated


@dataclass(frozen=True, slots=True)
class Query:
    """Terms that must all hold; none takes every row."""

    terms: tuple[Term, ...] = ()

    def takes(self, row: EventRow) -> bool:
        """Return True when the row is one of those."""
        if not self.terms:
            return True
        known = context_of(row)
        return all(term.takes(row, known) for term in self.terms)

    def counts(self, rows: Iterable[EventRow]) -> list[dict[str, Any]]:
        """Return how many rows each term would take alone: what somebody needs who found nothing."""
        known = [(row, context_of(row)) for row in rows]
        return [
            {"term": term.text, "matches": sum(term.takes(row, context) for row, context in known)}
            for term in self.terms
        ]


def parse(text: str, now: float) -> Query:
    """
    Read a filter.

    Args:
        text: What was typed.
        now: Unix seconds; ``since:5m`` and ``before:12:04`` are meant by it.

    Raises:
        BadQuery: for a key or a value that is not known, with the nearest one that is.
    """
    if len(text) > LONGEST:
        raise BadQuery(f"the filter has {len(text)} characters. Type at most {LONGEST}")
    terms = tuple(_term(found, now) for found in _WORD.finditer(text))
    if len(terms) > MOST_TERMS:
        raise BadQuery(f"the filter has {len(terms)} terms. Type at most {MOST_TERMS}")
    return Query(terms)


def quoted(value: str) -> str:
    """Return a value so that `parse` reads it as one word, whatever is in it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def context_of(row: EventRow) -> Mapping[str, Any]:
    """Return what is known of where a row came from; empty when nothing is."""
    holder = row.sent if row.api == "pipelines" else row.data
    sent = holder.get("context") if isinstance(holder, dict) else None
    return {**(sent if isinstance(sent, dict) else {}), **(row.context or {})}


# A word: a sign, a key, and a value that is bare or in quotes. A quote that is never closed ends with the text, since a
# filter is read while it is being typed.
_QUOTED = r'"(?:[^"\\]|\\.)*(?:"|\\?$)'
_WORD = re.compile(rf'(?P<sign>-(?=\S))?(?:(?P<key>[^\s":]+):)?(?P<value>{_QUOTED}|[^\s"]+|(?<=:))', re.DOTALL)
_LOOSE_KEYS = {key for key in EXAMPLES if not key.endswith(".")}


def _term(found: re.Match[str], now: float) -> Term:
    key, value, text = found["key"], _unquoted(found["value"]), found[0]
    if key is None:
        return Term(text, found["sign"] is not None, _mentions(value))
    lowered = key.lower()
    base, dot, path = key.partition(".")
    if not value and found["value"] != '""':
        raise BadQuery(f"{key:.80}: has no value. Type for example {_example(lowered)}")
    if dot and path and base.lower() in {"attr", "data"}:
        return Term(text, found["sign"] is not None, _attribute(path, value, of_events=base.lower() == "data"))
    if lowered not in _LOOSE_KEYS:
        raise BadQuery(_unknown_key(key, found))
    return Term(text, found["sign"] is not None, _TESTS[lowered](value, now))


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    inside = value[1:-1] if len(value) > 1 and re.fullmatch(r'"(?:[^"\\]|\\.)*"', value, re.DOTALL) else value[1:]
    return re.sub(r"\\(.)", r"\1", inside, flags=re.DOTALL).removesuffix("\\") if inside != "\\" else ""


def _example(key: str) -> str:
    return EXAMPLES.get(key) or EXAMPLES.get(f"{key.partition('.')[0]}.") or EXAMPLES["name"]


def _unknown_key(key: str, found: re.Match[str]) -> str:
    base = key.partition(".")[0].lower()
    names = [name.rstrip(".") for name in EXAMPLES]
    near = next(iter(get_close_matches(base, names, 1, 0.0)))
    quote = f", or {quoted(found[0].removeprefix('-'))[:80]} to look for the text" if len(found[0]) < 60 else ""
    return f"{key!r:.80} is no filter. Did you mean {_example(near)}? Known: {', '.join(names)}{quote}"


def pattern(text: str) -> re.Pattern[str]:
    """Return a text with ``*`` and ``?`` as an expression for all of a string, case ignored, in linear time."""
    return re.compile(translate(text.replace("[", "[[]")), re.IGNORECASE)


def _name(value: str, _now: float) -> Test:
    fits = pattern(value)
    return lambda row, _: row.name is not None and fits.match(row.name) is not None


def _kind(value: str, _now: float) -> Test:
    fits = pattern(value)
    return lambda row, _: fits.match(row.kind) is not None


def _person(value: str, _now: float) -> Test:
    fits = pattern(value)
    return lambda row, _: any(fits.match(name) for name in _called(row))


def _called(row: EventRow) -> Iterator[str]:
    if row.person is not None:
        yield row.person
    if isinstance(row.identifiers, dict):
        yield from (value for value in row.identifiers.values() if isinstance(value, str))


def _code(value: str, _now: float) -> Test:
    fits = pattern(value)
    return lambda row, _: any(fits.match(finding.code) for finding in (*row.errors, *row.warnings))


def _trace(value: str, _now: float) -> Test:
    wanted = value.lower().rstrip("*")
    return lambda _, context: any(str(context.get(name, "")).lower().startswith(wanted) for name in _TRACE)


def _route(value: str, _now: float) -> Test:
    fits = pattern(value)
    return lambda _, context: any(fits.match(route) for route in _routes(context))


_TRACE = ("trace_id", "trace", "traceId")


def _routes(context: Mapping[str, Any]) -> Iterator[str]:
    page = context.get("page")
    path = page.get("path") if isinstance(page, dict) else None
    yield from (value for value in (context.get("route"), context.get("path"), path) if isinstance(value, str))


def _is(value: str, _now: float) -> Test:
    word = value.lower()
    if word in set(Verdict):
        return lambda row, _: row.verdict == word
    return _chosen("is", word, _IS, [*Verdict, *_IS])


def _has(value: str, _now: float) -> Test:
    return _chosen("has", value.lower(), _HAS, [*_HAS])


def _chosen(key: str, word: str, table: Mapping[str, Test], known: list[str]) -> Test:
    if word not in table:
        near = next(iter(get_close_matches(word, known, 1, 0.0)))
        raise BadQuery(
            f"{word!r:.80} is nothing that an event {key}. Did you mean {key}:{near}? Known: {', '.join(known)}"
        )
    return table[word]


_IS: dict[str, Test] = {
    "good": lambda row, _: row.good is True,
    "bad": lambda row, _: row.good is False,
    "problem": lambda row, _: row.good is False or bool(row.warnings),
    "retried": lambda row, _: len(row.statuses) > 1,
}
_HAS: dict[str, Test] = {
    "trace": lambda _, context: any(context.get(name) for name in _TRACE),
    "route": lambda _, context: next(_routes(context), None) is not None,
    "context": lambda _, context: bool(context),
    "errors": lambda row, _: bool(row.errors),
    "warnings": lambda row, _: bool(row.warnings),
    "id": lambda row, _: row.event_id is not None,
    "timestamp": lambda row, _: row.timestamp is not None,
    "person": lambda row, _: row.person is not None,
    "data": lambda row, _: bool(row.data),
}


def _status(value: str, _now: float) -> Test:
    word = value.lower()
    if re.fullmatch(r"[1-5]xx", word):
        return lambda row, _: any(isinstance(one, int) and one // 100 == int(word[0]) for one in row.statuses)
    compared = _COMPARISON.fullmatch(word)
    if compared is not None and compared["operator"]:
        return _status_compared(compared["operator"], compared["operand"])
    return lambda row, _: any(str(one).lower() == word for one in row.statuses)


def _status_compared(operator: str, operand: str) -> Test:
    if not re.fullmatch(r"\d{1,3}", operand):
        raise BadQuery(f"{operand!r:.80} is no status. Type for example status:>=500, status:4xx or status:429")
    compare, limit = _ORDER[operator], int(operand)
    return lambda row, _: any(isinstance(one, int) and compare(one, limit) for one in row.statuses)


def _since(value: str, now: float) -> Test:
    at = _moment("since", value, now)
    return lambda row, _: row.received_at >= at


def _before(value: str, now: float) -> Test:
    at = _moment("before", value, now)
    return lambda row, _: row.received_at < at


def _moment(key: str, value: str, now: float) -> float:
    try:
        return moment(value, now)
    except NoMoment as error:
        raise BadQuery(f"{value!r:.80} is no time. Type {key}:5m, {key}:12:04 or {key}:2026-01-31T12:04:00Z") from error


_TESTS: dict[str, Callable[[str, float], Test]] = {
    "name": _name,
    "kind": _kind,
    "person": _person,
    "is": _is,
    "has": _has,
    "trace": _trace,
    "route": _route,
    "code": _code,
    "status": _status,
    "since": _since,
    "before": _before,
}

_COMPARISON = re.compile(r"(?P<operator>>=|<=|>|<)?(?P<operand>.*)", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": lambda got, limit: bool(got > limit),
    ">=": lambda got, limit: bool(got >= limit),
    "<": lambda got, limit: bool(got < limit),
    "<=": lambda got, limit: bool(got <= limit),
}
_LITERALS = {"true": True, "false": False, "null": None}


def _attribute(path: str, value: str, *, of_events: bool) -> Test:
    fits = _value(value)

    def test(row: EventRow, _context: Mapping[str, Any]) -> bool:
        return (row.kind in EVENTS) is of_events and any(map(fits, at_path(row.data, path)))

    return test


def at_path(value: Any, path: str) -> Iterator[Any]:
    """
    Yield what stands at a path such as ``items.0.sku``; without a number every member of a list is looked at.

    A key that has dots itself is found as well.
    """
    if isinstance(value, list):
        head, _, rest = path.partition(".")
        if head.isdecimal() and len(head) < 7:
            chosen = value[int(head) : int(head) + 1]
            yield from chosen if not rest else (found for one in chosen for found in at_path(one, rest))
        else:
            yield from (found for one in value for found in at_path(one, path))
        return
    if not isinstance(value, dict):
        return
    for key, below in value.items():
        if key == path:
            yield from below if isinstance(below, list) and below else (below,)
        elif path.startswith(f"{key}."):
            yield from at_path(below, path[len(key) + 1 :])


def _value(text: str) -> Callable[[Any], bool]:
    compared = _COMPARISON.fullmatch(text)
    if compared is not None and compared["operator"]:
        return _ordered(_ORDER[compared["operator"]], compared["operand"])
    fits, number = pattern(text), _number(text)
    literal = _LITERALS.get(text.lower(), text)

    def equal(value: Any) -> bool:
        if isinstance(value, str):
            return fits.match(value) is not None
        if value is None or isinstance(value, bool):
            return value is literal or text == "*"
        if isinstance(value, int | float):
            return value == number or text == "*"
        return text == "*"

    return equal


def _ordered(compare: Callable[[Any, Any], bool], operand: str) -> Callable[[Any], bool]:
    number = _number(operand)
    if number is None:
        limit = operand.lower()
        return lambda value: isinstance(value, str) and compare(value.lower(), limit)
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and compare(value, number)


def _number(text: str) -> int | float | None:
    if re.fullmatch(r"-?\d{1,100}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d{1,100}(?:\.\d{1,100})?(?:[eE][+-]?\d{1,3})?", text) else None


def _mentions(text: str) -> Test:
    needle = text.lower()

    def test(row: EventRow, _context: Mapping[str, Any]) -> bool:
        names = (row.name, row.kind, row.person, row.event_id)
        if any(name is not None and needle in name.lower() for name in names):
            return True
        if any(needle in f"{finding.code} {finding.message} {finding.explain}".lower() for finding in row.errors):
            return True
        return holds(row.identifiers, needle) or holds(row.sent, needle)

    return test


def holds(value: Any, needle: str) -> bool:
    """Return True when a key, a string or a number anywhere in a JSON value has the text in it; it is in lower case."""
    if isinstance(value, str):
        return needle in value.lower()
    if isinstance(value, dict):
        return any(needle in key.lower() or holds(below, needle) for key, below in value.items())
    if isinstance(value, list):
        return any(holds(below, needle) for below in value)
    if value is None or isinstance(value, bool):
        return needle == str(value).lower().replace("none", "null")
    return needle in str(value)
