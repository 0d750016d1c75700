"""
Which requests tried to deliver one operation, so that an event is one row however often it was sent.

A ULID tells an operation for ever. Anything else is only known by its bytes, and saying the same thing twice is no
retry: such a chain ends with the first request that was answered and that no fault refused.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from cio_middleware.sandbox.advice import is_ulid
from cio_middleware.sandbox.attempt import Attempt
from cio_middleware.sandbox.ring import trim
from cio_middleware.sandbox.verdicts import Verdict

if TYPE_CHECKING:
    from cio_middleware.sandbox.operations import Operation
    from cio_middleware.sandbox.rows import RequestRow


@dataclass(frozen=True, slots=True)
class Tries:
    """
    All that is known of one operation.

    Attributes:
        log: The attempts, oldest first.
        refused: The number of the row that a fault answered last; the next attempt takes its place.
        replaced: The rows whose place that row had taken itself.
    """

    log: tuple[Attempt, ...] = ()
    refused: int | None = None
    replaced: tuple[int, ...] = ()

    @property
    def superseded(self) -> tuple[int, ...]:
        """The rows that the next attempt replaces."""
        return () if self.refused is None else (*self.replaced, self.refused)


class Attempts:
    """
    The operations that may be tried again.

    Args:
        operations: So many are known; the oldest goes first.
        each: Attempts that are known of each, the newest.
    """

    def __init__(self, operations: int, each: int) -> None:
        self._known: OrderedDict[str | bytes, Tries] = OrderedDict()
        self._operations = operations
        self._each = each

    def follow(self, op: Operation, seq: int, verdict: Verdict, request: RequestRow, batch_size: int) -> Tries:
        """Add the attempt that `request` was, and return all there were and the rows that this one replaces."""
        key = key_of(op)
        before = self._known.pop(key, Tries())
        log = (*before.log, _attempt(op, request, batch_size, before.log))[-self._each :]
        replaces = before.superseded[-self._each :]
        refused = verdict is Verdict.FAULT
        if refused or request.status is None or isinstance(key, str):
            self._known[key] = Tries(log, seq if refused else None, replaces if refused else ())
            trim(self._known, self._operations)
        return Tries(log, replaced=replaces)


def key_of(op: Operation) -> str | bytes:
    """Return what tells an operation when it comes again: what Customer.io knows it by, or else its bytes."""
    return ulid(op) or _digest(op)


def message(message_id: str) -> str:
    """Return what a Pipelines call is known by, apart from the ULIDs of events."""
    return f"messageId {message_id}"


def ulid(op: Operation) -> str | None:
    """Return what Customer.io knows a repeat of this event by; None when it knows it by nothing."""
    if op.api == "pipelines":
        return message(op.event_id) if isinstance(op.event_id, str) and op.event_id else None
    return op.event_id.upper() if op.is_event and is_ulid(op.event_id) else None


def _attempt(op: Operation, request: RequestRow, batch_size: int, before: tuple[Attempt, ...]) -> Attempt:
    note, too_soon = _pace(before[-1], request.received_at) if before else (None, False)
    return Attempt(
        n=before[-1].n + 1 if before else 1,
        at=request.received_at,
        status=request.status,
        fault=request.fault,
        label=request.label,
        request=request.id,
        took_ms=request.took_ms,
        retry_after=request.retry_after,
        batch_index=op.batch_index,
        batch_size=batch_size,
        method=request.method,
        path=request.path,
        note=note,
        too_soon=too_soon,
    )


def _pace(before: Attempt, at: float) -> tuple[str | None, bool]:
    if before.retry_after is None:
        return None, False
    waited = max(at - before.ended_at, 0.0)
    came = f"came {waited:.2f} s after attempt {before.n}"
    # A tenth of a second for two clocks that do not quite agree.
    if waited < before.retry_after - 0.1:
        return f"{came}; Retry-After asked for {before.retry_after:g} s", True
    return f"{came}, as asked", False


def _digest(op: Operation) -> bytes:
    said = json.dumps([op.kind, op.identifiers, op.sent], sort_keys=True)
    return blake2b(said.encode(), digest_size=16).digest()
