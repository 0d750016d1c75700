"""
What went wrong, each kind once: how often, since when, three events to look at, and what to type.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cio_middleware.sandbox.rows import EventRow

SAMPLES = 3
SPARKS = 30
SPARK_SECONDS = 10
GROUPS = 500
"""Kinds of problems that are listed, the most frequent."""

SHOWN = ("seq", "kind", "name", "person", "received_at", "verdict", "headline")

TOO_SOON = "W-retry-too-soon"


@dataclass(slots=True)
class _Group:
    """One kind of problem; rows come newest first."""

    finding: Finding
    newest: EventRow
    first: float
    count: int = 0
    spark: list[int] = field(default_factory=lambda: [0] * SPARKS)
    samples: list[EventRow] = field(default_factory=list)

    def add(self, row: EventRow, now: float) -> None:
        self.count += 1
        self.first = min(self.first, row.received_at)
        slot = SPARKS - 1 - math.floor(max(now - row.received_at, 0) / SPARK_SECONDS)
        if slot >= 0:
            self.spark[slot] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(row)

    def document(self) -> dict[str, Any]:
        return {
            **self.finding.document(),
            "name": self.newest.name,
            "count": self.count,
            "first": self.first,
            "last": self.newest.received_at,
            "verdict": self.newest.verdict,
            "spark": self.spark,
            "samples": [{name: getattr(row, name) for name in SHOWN} for row in self.samples],
        }


def problems(newest_first: Iterable[EventRow], now: float) -> list[dict[str, Any]]:
    """Return the kinds of problems among these rows, the most frequent first; `now` ends the sparkline."""
    groups: dict[tuple[str, str | None, str], _Group] = {}
    for row in newest_first:
        findings = {(finding.code, row.name, finding.field): finding for finding in _findings(row)}
        for key, finding in findings.items():
            groups.setdefault(key, _Group(finding, row, row.received_at)).add(row, now)
    ordered = sorted(groups.values(), key=lambda group: (-group.count, -group.newest.seq))
    return [group.document() for group in ordered[:GROUPS]]


def _findings(row: EventRow) -> Iterator[Finding]:
    if row.verdict is not Verdict.FAULT:  # which the tester wanted
        yield from row.errors
    yield from row.warnings
    early = next((attempt.note for attempt in row.attempts_log if attempt.too_soon), None)
    if early is not None and all(finding.code != TOO_SOON for finding in row.warnings):
        fix = "Wait as long as Retry-After says before the next attempt."
        yield Finding(TOO_SOON, "warning", "Retry-After", "", f"an attempt {early}", fix)
    if row.good is False and not row.errors:
        yield Finding(f"never-sent-{row.drop_reason}", "never_sent", "", "", row.headline)
