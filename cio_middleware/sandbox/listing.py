"""
Filters for the list of events, as query parameters; `KNOWN` names them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.query import BadQuery, Query, parse
from cio_middleware.sandbox.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cio_middleware.sandbox.rows import EventRow
    from cio_middleware.sandbox.store import Workspace

KNOWN = ("name", "person", "kind", "verdict", "good", "since", "before", "limit", "q", "workspace")

DIGITS = 18
"""Digits of a number in a query or a path at most."""


class BadFilter(ValueError):
    """A filter that cannot be read; the message says what may be typed."""


@dataclass(frozen=True, slots=True)
class Filter:
    """
    Which events are listed.

    Attributes:
        name: With ``*`` and ``?`` as in a shell.
        person: What the person is called, or any identifier as sent.
        since: Only rows after this number.
        before: Only rows before this number.
        limit: So many at most, the newest.
        query: What else is asked for, in the language of `query`.
    """

    name: str | None = None
    person: str | None = None
    kind: str | None = None
    verdict: str | None = None
    good: bool | None = None
    since: int = 0
    before: int | None = None
    limit: int = 100
    query: Query = field(default_factory=Query)

    def takes(self, row: EventRow) -> bool:
        """Return True when the row is listed."""
        if self.before is not None and row.seq >= self.before:
            return False
        return (
            (self.name is None or (row.name is not None and fnmatchcase(row.name, self.name)))
            and (self.person is None or self.person in _called(row))
            and self.kind in {None, row.kind}
            and self.verdict in {None, row.verdict}
            and self.good in {None, row.good}
        )


def read(query: Mapping[str, str], now: float) -> Filter:
    """
    Read a filter.

    Args:
        query: The parameters.
        now: Unix seconds, by which a time in ``q=`` is meant.

    Raises:
        BadFilter: for a name or a value that is not known.
    """
    for name in query:
        if name not in KNOWN:
            raise BadFilter(f"{name!r:.80} is no filter. Known: {', '.join(KNOWN)}")
    verdict = query.get("verdict")
    if verdict is not None and verdict not in set(Verdict):
        raise BadFilter(f"{verdict!r:.80} is no verdict. Known: {', '.join(Verdict)}")
    good = query.get("good")
    return Filter(
        name=query.get("name"),
        person=query.get("person"),
        kind=query.get("kind"),
        verdict=verdict,
        good=None if good is None else good == "true",
        since=number(query, "since", 0),
        before=number(query, "before", 0) or None,
        limit=number(query, "limit", 100),
        query=_query(query.get("q", ""), now),
    )


def _query(text: str, now: float) -> Query:
    try:
        return parse(text, now)
    except BadQuery as error:
        raise BadFilter(str(error)) from error


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """
    Read one whole number.

    Raises:
        BadFilter: when it is none.
    """
    given = query.get(name)
    if given is None:
        return default
    return whole(name, given)


def whole(name: str, given: str) -> int:
    """
    Read the text of one whole number.

    Raises:
        BadFilter: when it is none, or has more than `DIGITS` digits.
    """
    if not given.isdecimal() or len(given) > DIGITS:
        raise BadFilter(f"{name} is {given!r:.80}. Type a whole number of at most {DIGITS} digits")
    return int(given)


def page(workspace: Workspace, wanted: Filter) -> dict[str, Any]:
    """
    Return the newest rows that the filter takes; `next` is the `before` of the page after this one.

    When a query finds nothing, `term_counts` says how many rows each of its terms would take alone.
    """
    items: list[dict[str, Any]] = []
    more: int | None = None
    for row in workspace.events.newest_first():
        if row.seq <= wanted.since:
            break
        if wanted.takes(row) and wanted.query.takes(row):
            if len(items) == wanted.limit:
                more = items[-1]["seq"] if items else None
                break
            items.append(row.document())
    found = {
        "items": items,
        "next": more,
        "cursor": workspace.seq,
        "stream_cursor": workspace.changes.cursor,
        "evicted": workspace.events.evicted,
    }
    if items or not wanted.query.terms:
        return found
    return {**found, "term_counts": wanted.query.counts(workspace.events)}


def _called(row: EventRow) -> set[str | None]:
    sent = row.identifiers.values() if isinstance(row.identifiers, dict) else ()
    return {row.person, *(value for value in sent if isinstance(value, str))}
