"""
Wait for events, so that no test ever sleeps: woken by each change, never polling.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.matching import matches, mistake, nearest

if TYPE_CHECKING:
    from cio_middleware.sandbox.rows import EventRow
    from cio_middleware.sandbox.store import Workspace

LONGEST_MS = 60_000
EXAMPLE = '{"match": {"name": "order_completed"}, "timeout_ms": 2000}'


class BadWait(ValueError):
    """A wait that cannot be read; the message says what to type."""


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What is waited for.

    Attributes:
        match: The pattern.
        least: So many rows must match.
        most: No more may; None means any number.
        since: Only rows after this number count.
        timeout_ms: When to give up.
        settle_ms: How long no row too many may come, where `most` is set.
    """

    match: dict[str, Any]
    least: int = 1
    most: int | None = None
    since: int = 0
    timeout_ms: float = 2000
    settle_ms: float = 0


@dataclass(slots=True)
class Outcome:
    """How a wait ended."""

    matched: list[dict[str, Any]] = field(default_factory=list)
    fulfilled: bool = False
    waited_ms: int = 0


def read(given: Any) -> Wish:
    """
    Read a wish from its JSON.

    Raises:
        BadWait: naming what is wrong.
    """
    if not isinstance(given, dict) or not isinstance(given.get("match"), dict):
        raise BadWait(f"a wait has a match. Type: {EXAMPLE}")
    wrong = mistake(given["match"])
    if wrong is not None:
        raise BadWait(wrong)
    numbers = {name: given.get(name) for name in ("count", "exactly", "at_most", "since", "timeout_ms", "settle_ms")}
    for name, value in numbers.items():
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf
        ):
            raise BadWait(f"{name} is {value!r:.80}. Type a number of at least 0")
    least, most = _bounds(numbers)
    since, timeout, settle = (numbers[name] or 0 for name in ("since", "timeout_ms", "settle_ms"))
    timeout = 2000 if numbers["timeout_ms"] is None else min(timeout, LONGEST_MS)
    return Wish(given["match"], least, most, int(since), timeout, min(settle, LONGEST_MS))


def _bounds(numbers: dict[str, Any]) -> tuple[int, int | None]:
    if numbers["exactly"] is not None:
        return int(numbers["exactly"]), int(numbers["exactly"])
    if numbers["at_most"] is not None:
        return 0, int(numbers["at_most"])
    count = 1 if numbers["count"] is None else int(numbers["count"])
    return count, (0 if count == 0 else None)


async def wait(workspace: Workspace, wish: Wish) -> Outcome:
    """Wait until a wish is fulfilled, cannot be any more, or its time is up."""
    began = time.monotonic()
    deadline = began + wish.timeout_ms / 1000
    settled: float | None = None
    found: dict[int, dict[str, Any]] = {}
    looked: int | None = None
    outcome = Outcome()
    while True:
        fresh, looked = _fresh(workspace, wish.since, looked), workspace.changes.latest
        for event in fresh:
            _sort(found, event, wish.match)
        outcome.matched = list(found.values())
        if wish.most is not None and len(found) > wish.most:
            break
        now = time.monotonic()
        if len(found) >= wish.least:
            settled = settled or now + wish.settle_ms / 1000
            if wish.most is None or now >= settled:
                outcome.fulfilled = True
                break
            await workspace.bell.heard(settled - now)
        elif not await workspace.bell.heard(deadline - now):
            break
    outcome.waited_ms = round((time.monotonic() - began) * 1000)
    return outcome


def _fresh(workspace: Workspace, since: int, looked: int | None) -> list[EventRow]:
    """Return the rows that are new or changed since the last look; all, when that is not known."""
    changes = None if looked is None else workspace.changes.since(looked)
    if changes is None:
        return workspace.events.after(since)
    numbers = dict.fromkeys(change.key for change in changes if change.kind in {"event", "update"})
    rows = (workspace.events.get(seq) for seq in numbers if isinstance(seq, int) and seq > since)
    return [row for row in rows if row is not None]


def _sort(found: dict[int, dict[str, Any]], event: EventRow, pattern: dict[str, Any]) -> None:
    for seq in event.replaces:
        found.pop(seq, None)
    row = event.document()
    if matches(pattern, row):
        found[event.seq] = row
    else:
        found.pop(event.seq, None)


def explain(workspace: Workspace, wish: Wish) -> dict[str, Any]:
    """Return what helps someone whose wish was not fulfilled: the nearest rows, a hint, and what was seen."""
    rows = [row.document() for row in workspace.events.after(wish.since)]
    missed = [row for row in rows if not matches(wish.match, row)]
    seen = [
        {"seq": row["seq"], "kind": row["kind"], "name": row["name"], "person": row["person"]} for row in rows[-10:]
    ]
    return {
        "near_misses": nearest(wish.match, missed),
        "hint": _hint(wish.match, rows),
        "seen": seen,
        "never_sent": [
            {"seq": row["seq"], "kind": row["kind"], "name": row["name"], "drop_reason": row["drop_reason"]}
            for row in rows
            if row["verdict"] == "never_sent"
        ],
        "total": len(rows),
    }


def _hint(pattern: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "nothing arrived at all: is the client pointed at this sandbox, and was it flushed?"
    named = [row for row in rows if "name" in pattern and matches(pattern["name"], row["name"])]
    elsewhere = [row for row in named if "person" in pattern and not matches(pattern["person"], row["person"])]
    if elsewhere:
        return f"{len(elsewhere)} events with this name went to other people"
    if named and not any(row["good"] for row in named):
        verdicts = ", ".join(sorted({row["verdict"] for row in named}))
        return f"{len(named)} events with this name were not stored: {verdicts}"
    return "" if named or "name" not in pattern else "no event has this name"
