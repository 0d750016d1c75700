"""
One event in full: what was sent to the letter, how it was delivered, what belongs to it, and how to send it again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox import copying
from cio_middleware.sandbox.pretty import batch_items, batch_of, pretty

if TYPE_CHECKING:
    from collections.abc import Callable

    from cio_middleware.sandbox.rows import EventRow, RequestRow
    from cio_middleware.sandbox.store import Workspace

RELATED = 50
"""Rows of each kind of relation that are named, the newest."""


def detail(workspace: Workspace, row: EventRow, origin: str) -> dict[str, Any]:
    """
    Return everything about an event.

    Args:
        workspace: Where it is.
        row: The event.
        origin: Scheme and host of the sandbox, for what can be pasted.
    """
    request = workspace.request(row.request)
    raw = _raw(row, request)
    return {
        **row.document(),
        "attempts_log": [attempt.document() for attempt in row.attempts_log],
        "sent": row.sent,
        "raw": raw,
        "payload_text": pretty(raw),
        "request": request and request.document(),
        "related": _related(workspace, row),
        "copy": _copies(row, request, raw, origin),
    }


def _raw(row: EventRow, request: RequestRow | None) -> str:
    if request is None:  # it was dropped, being old; what was understood of it is still here
        return json.dumps(row.sent, ensure_ascii=False)
    if row.batch_index is None:
        return request.body
    items = batch_items(request.body)
    return items[row.batch_index] if row.batch_index < len(items) else request.body


def _copies(row: EventRow, request: RequestRow | None, raw: str, origin: str) -> dict[str, str] | None:
    if request is None:
        return None
    body = raw if row.batch_index is None else batch_of(request.body, raw)
    original = copying.Original(row, request, body)
    return {"pytest": copying.pytest(original), "curl": copying.curl(original, origin)}


def _related(workspace: Workspace, row: EventRow) -> dict[str, list[int]]:
    trace = _trace(row)
    return {
        "same_request": _others(workspace, row, lambda other: other.request == row.request) if row.request else [],
        "same_person": [] if row.person is None else _others(workspace, row, lambda other: other.person == row.person),
        "same_trace": [] if trace is None else _others(workspace, row, lambda other: _trace(other) == trace),
    }


def _others(workspace: Workspace, row: EventRow, related: Callable[[EventRow], bool]) -> list[int]:
    found = (other.seq for other in workspace.events.newest_first() if other.seq != row.seq and related(other))
    return [seq for seq, _ in zip(found, range(RELATED), strict=False)][::-1]


def _trace(row: EventRow) -> Any:
    return (row.context or {}).get("trace_id")
