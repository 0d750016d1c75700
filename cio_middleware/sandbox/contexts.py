"""
What is known of events beside their delivery, as long as it is among the newest.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.ring import trim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cio_middleware.sandbox.rows import EventRow

STAGES = 50
"""Stages that are kept of one event: the first and the newest."""
FACTS = ("call_site", "route", "method", "request_id", "trace_id", "span_id", "task")
"""What is told once, with the first stage that knows it."""
PROGRESS = ("status", "error", "queue_depth", "breaker", "drop_reason", "next_retry_at")
"""What belongs to one stage."""


@dataclass(frozen=True, slots=True)
class Told:
    """One line: of which event, at which stage, when, and what is known."""

    event_id: str | None
    stage: str
    at: float
    known: Mapping[str, Any]


class Contexts:
    """
    What is known of the newest events beside their delivery, by ULID; and which rows they have.

    Args:
        count: Events at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._rows: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def get(self, event_id: str | None) -> dict[str, Any] | None:
        """Return what is known of an event; None while nothing is."""
        return self._known.get(event_id.upper()) if event_id else None

    def rows(self, event_id: str | None) -> tuple[int, ...]:
        """Return the numbers of an event's rows."""
        return self._rows.get(event_id, ()) if event_id else ()

    def came(self, row: EventRow) -> None:
        """Remember that an event has this row."""
        if row.event_id:
            key = row.event_id.upper()
            self._rows[key] = (*self._rows.pop(key, ()), row.seq)[-STAGES:]
            trim(self._rows, self._count)

    def add(self, told: Told) -> dict[str, Any]:
        """Add a stage to what is known of its event, and return all of that; what has no ULID is not kept."""
        before = self._known.pop(told.event_id, {}) if told.event_id else {}
        stage = {"stage": told.stage, "at": told.at}
        stage |= {name: told.known[name] for name in PROGRESS if name in told.known}
        stages = [*before.get("stages", ()), stage]
        stages.sort(key=lambda one: (one["at"], _order(one["stage"])))
        if len(stages) > STAGES:
            del stages[1]
        facts = {name: before.get(name) or told.known.get(name) for name in FACTS}
        reason = told.known.get("drop_reason") or before.get("drop_reason")
        after = {**facts, "drop_reason": reason, "stages": stages}
        if told.event_id:
            self._known[told.event_id] = after
            trim(self._known, self._count)
        return after


def _order(stage: str) -> int:
    return ("captured", "queued", "spooled", "sent", "replied", "settled", "never_sent").index(stage.partition("#")[0])
