"""
What the sandbox remembers of each operation and each request, as frozen rows that only ever leave as JSON.

No credential gets this far: `Authorization` and `Cookie` are taken out where a request is read.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cio_middleware.sandbox.verdicts import Finding, Verdict


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
        sent: The item or the body as parsed.
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
    sent: Any = None

    def document(self) -> dict[str, Any]:
        """Return the row as it appears in the control API."""
        row = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "sent"}
        row["good"] = self.verdict.good
        holder = self.sent if self.api == "pipelines" else self.data
        row["context"] = holder.get("context") if isinstance(holder, dict) else None
        row["attempts"] = len(self.statuses)
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
        fault: The rule or script that answered.
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

    @property
    def weight(self) -> int:
        """Bytes of what was received: body, address and headers."""
        return (
            self.size + len(self.path) + len(self.query) + sum(len(name) + len(value) for name, value in self.headers)
        )

    def document(self) -> dict[str, Any]:
        """Return the row as it appears in the control API."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
