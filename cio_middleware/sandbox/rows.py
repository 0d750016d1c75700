"""
What the sandbox remembers of each operation and each request, as frozen rows that only ever leave as JSON.

No credential gets this far: `Authorization` and `Cookie` are taken out where a request is read.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from cio_middleware.sandbox.attempt import Attempt
from cio_middleware.sandbox.headlines import headline
from cio_middleware.sandbox.verdicts import Finding, Verdict

SHOWN_ATTEMPTS = 50
"""Attempts of one row that a list shows, the newest; the row itself, asked for by its number, shows all."""
LOST = frozenset({"invalid_event", "event_too_large", "queue_full", "breaker_open"})
"""
Reasons of the client's for which an event that was never sent is bad news. The others are what somebody wanted: no
consent, a sample, a person who is not known.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """
    One operation, judged.

    Attributes:
        seq: Its number in the workspace, from 1, never reused.
        person: What the person it went to is called; for a refused one, whom it names.
        data: `data` of a v1 event, the attributes of everything else.
        timestamp: As sent; `received_at` is Unix seconds of the sandbox's clock.
        statuses: The outcome of every request that tried to deliver it, this one last: a status, or the fault
            that gave no reply.
        attempts_log: The same attempts, each with when, where and how long.
        replaces: The rows of earlier attempts whose place this one took.
        size: Bytes of the item or the body.
        strict: True where warnings make an event bad.
        sent: The item or the body as parsed.
        drop_reason: Why the client never sent it, in its own words.
        context: Where it came from and how far it got, as the client on this machine tells; None while it has not.
    """

    seq: int
    workspace: str
    api: str
    subject: str
    kind: str
    name: str | None
    person: str | None
    identifiers: Any
    event_id: str | None
    data: Any
    timestamp: Any
    received_at: float
    request: str
    batch_index: int | None
    verdict: Verdict
    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    statuses: tuple[int | str, ...] = ()
    attempts_log: tuple[Attempt, ...] = ()
    replaces: tuple[int, ...] = ()
    size: int = 0
    strict: bool = False
    sent: Any = None
    drop_reason: str | None = None
    context: Any = None

    @property
    def good(self) -> bool | None:
        """True for what is stored, False for what is lost by mistake, None for what says nothing about the caller."""
        return False if self.drop_reason in LOST else self.verdict.judged(strict=self.strict)

    @property
    def headline(self) -> str:
        """What became of it, in a sentence."""
        label = self.attempts_log[-1].label if self.attempts_log else None
        if self.drop_reason is not None:
            return f"never sent: {self.drop_reason.replace('_', ' ')}"
        return headline(self.verdict, (len(self.statuses), label), (*self.errors, *self.warnings))

    @property
    def took_ms(self) -> float | None:
        """Milliseconds from the arrival of the first attempt to the answer of the last."""
        if not self.attempts_log:
            return None
        return round((self.attempts_log[-1].ended_at - self.attempts_log[0].at) * 1000, 3)

    def document(self) -> dict[str, Any]:
        """Return the row as it appears in the control API."""
        row = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in {"sent", "strict"}}
        row["good"] = self.good
        row["attempts"] = len(self.statuses)
        row["attempts_log"] = [attempt.document() for attempt in self.attempts_log[-SHOWN_ATTEMPTS:]]
        row["took_ms"] = self.took_ms
        row["headline"] = self.headline
        for name in ("errors", "warnings"):
            row[name] = [finding.document() for finding in row[name]]
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """
    One request.

    Attributes:
        endpoint: The name of the call, or ``unknown``.
        status: The status that was answered; None when there was no answer.
        fault: The kind of fault that answered; `label` says it in words.
        retry_after: The seconds that the answer asked to wait.
        reply_headers: What was answered, or would have been if no fault had cut the line; so `reply_body`, as far
            as it is kept.
        key: By what its API key can be told: the last four characters and a hash, never the key.
        body: As received, decoded as UTF-8 as far as it goes.
        events: The numbers of its rows, first and last, when it has any.
        took_ms: Milliseconds from the end of the body to the decision.
    """

    id: str
    workspace: str
    method: str
    path: str
    query: str
    endpoint: str
    headers: tuple[tuple[str, str], ...]
    body: str
    size: int
    status: int | None
    fault: str | None
    received_at: float
    took_ms: float
    events: tuple[int, int] | None
    label: str | None = None
    retry_after: float | None = None
    reply_headers: tuple[tuple[str, str], ...] = ()
    reply_body: str = ""
    key: str | None = None

    @property
    def weight(self) -> int:
        """Bytes of what was received: body, address and headers."""
        return (
            self.size + len(self.path) + len(self.query) + sum(len(name) + len(value) for name, value in self.headers)
        )

    def document(self) -> dict[str, Any]:
        """Return the row as it appears in the control API."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
