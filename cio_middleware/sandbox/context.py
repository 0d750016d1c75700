"""
What a client on this machine tells of its events beside their delivery: where each was captured, and how far it got.

A client's word is no operation: it changes nothing that Customer.io would know. It joins the row of its event by the
ULID, whichever of them comes first; an event that was given up unsent has no other row, and gets one.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox import jsontext
from cio_middleware.sandbox.contexts import FACTS, PROGRESS, Told
from cio_middleware.sandbox.rows import LOST, EventRow
from cio_middleware.sandbox.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cio_middleware.sandbox.store import Workspace

LINES = 5000
"""Lines of one call at most."""
TEXT_CHARS = 300
LARGEST = 1e12
"""Numbers from here on are none of a clock, a status or a queue."""

_STAGE = re.compile(r"captured|queued|spooled|sent#\d{1,6}|replied|settled|never_sent")
_EVENT_ID = re.compile(r"[0-9A-Za-z]{26}")
_NUMBERS = frozenset({"at", "status", "queue_depth", "next_retry_at"})

REASONS: dict[str, tuple[str, str]] = {
    "invalid_event": ("the client found it invalid", "Its log says why; debug=True raises at the call"),
    "event_too_large": ("it is larger than Customer.io takes", "Send less with it"),
    "queue_full": ("the client's queue was full", "Raise max_queue_events, or see why events are not taken"),
    "breaker_open": ("several deliveries had failed in a row, and the breaker was open", "See why they failed"),
    "no_identity": ("nobody was known whom it could be about", "Pass person=, or call identify() in the request"),
    "processor": ("a processor dropped it", "Look at the client's processors"),
    "sampled": ("its person is not in the share that sample() sends", ""),
    "no_consent": ("consent() asked, and the answer was no", ""),
    "processor_failed": ("a processor raised, and may have been there to redact it", "Look at the client's log"),
    "callable_failed": ("attributes= or person= of @track_event raised", "Look at the client's log"),
    "disabled": ("the client is switched off", "Set CUSTOMERIO_ENABLED, or another backend"),
    "nested": ("it was captured by a hook of the client's own delivery", "Leave the client's own calls out"),
    "closed": ("the client was closed already", "Close it last"),
    "purged": ("its person was purged before it was sent", ""),
    "backend_failed": ("the application's own backend raised", "Look at the client's log"),
    "cancelled": ("the task that captured it was cancelled, or the program interrupted", ""),
    "evicted": ("it was the oldest in a full queue", "Raise max_queue_events, or see why events are not taken"),
    "retries_exhausted": (
        "the direct backend tried as often as it may",
        "See why it failed, or use the queued backend",
    ),
    "unauthorized": ("the credentials were refused", "Check site_id and api_key"),
    "dead_letters_full": ("it was refused, and there was no room to keep it", "Look after the dead letters"),
    "shutdown_timeout": ("the process ended before it was sent", "Raise shutdown_timeout, or use the spool"),
    "spool_failed": ("the spool's disk failed, and memory was full", "Make spool_dir writable"),
    "quarantined": ("it could not be read back from the spool", "Look at the quarantine in spool_dir"),
    "expired": ("it waited longer than max_age", "Raise max_age, or see why events are not taken"),
}


class BadContext(ValueError):
    """A line that cannot be read; the message says which, and what to type."""


def read(body: bytes) -> list[Told]:
    """
    Read lines of JSON.

    What is not known here is left out, so that a payload that a client sends by mistake is not kept.

    Raises:
        BadContext: naming the line.
    """
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > LINES:
        raise BadContext(f"there are {len(lines)} lines, and {LINES} are read at once. Send fewer")
    return [_line(number, line) for number, line in enumerate(lines, 1)]


def _line(number: int, line: bytes) -> Told:
    try:
        given = jsontext.read(line, 4).value
    except jsontext.NotJson as error:
        raise BadContext(f"line {number}: {error}") from error
    if not isinstance(given, dict):
        raise BadContext(f'line {number} is no object. Type {{"event_id": "01J…", "stage": "captured"}}')
    event_id, stage = given.get("event_id"), given.get("stage")
    if event_id is not None and not (isinstance(event_id, str) and _EVENT_ID.fullmatch(event_id)):
        raise BadContext(f"line {number}: event_id is {event_id!r:.80}. Type a ULID, or null")
    if not isinstance(stage, str) or not _STAGE.fullmatch(stage):
        raise BadContext(f"line {number}: stage is {stage!r:.80}. Type captured, queued, sent#1, replied or settled")
    known = {name: value for name in (*FACTS, *PROGRESS, "at", "kind", "name") if (value := _kept(name, given))}
    return Told(event_id and event_id.upper(), stage, known.pop("at", 0.0), known)


def _kept(name: str, given: Mapping[str, Any]) -> Any:
    value: Any = given.get(name)
    if name in _NUMBERS:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if is_number and 0 <= value < LARGEST else None
    return value[:TEXT_CHARS] if isinstance(value, str) else None


def tell(workspace: Workspace, lines: Iterable[Told]) -> dict[str, int]:
    """Take in what a client tells; rows that it is about change, and what was never sent gets a row of its own."""
    changed: dict[str, dict[str, Any]] = {}
    taken = lost = 0
    for told in lines:
        taken += 1
        context = workspace.contexts.add(told)
        if told.event_id:
            changed[told.event_id] = context
        if _gave_up(told, context) and not workspace.contexts.rows(told.event_id):
            workspace.keep(_row(workspace, told, context))
            lost += 1
    for event_id, context in changed.items():
        for row in _rows_of(workspace, event_id):
            if row.context != context:
                workspace.update(replace(row, context=context))
    return {"taken": taken, "never_sent": lost}


def _rows_of(workspace: Workspace, event_id: str) -> Iterator[EventRow]:
    found = (workspace.row(seq) for seq in workspace.contexts.rows(event_id))
    return (row for row in found if row is not None)


def _gave_up(told: Told, context: Mapping[str, Any]) -> bool:
    """Whether nobody but the client ever saw the event: one that was sent once is no secret of the client's."""
    if told.stage == "never_sent":
        return True
    sent = any(stage["stage"].startswith("sent#") for stage in context["stages"])
    return told.stage == "settled" and "drop_reason" in told.known and not sent


def _row(workspace: Workspace, told: Told, context: dict[str, Any]) -> EventRow:
    reason = str(told.known.get("drop_reason", "unknown"))
    explain, fix = REASONS.get(reason, (reason.replace("_", " "), ""))
    finding = Finding(f"N-{reason.replace('_', '-')}", reason, "", f"never sent: {reason}", explain, fix)
    lost = reason in LOST
    return EventRow(
        seq=workspace.next_seq(),
        workspace=workspace.name,
        api="client",
        subject="person",
        kind=str(told.known.get("kind", "event")),
        name=told.known.get("name"),
        person=None,
        identifiers={},
        event_id=told.event_id,
        data={},
        timestamp=None,
        received_at=told.at or time.time(),
        request="",
        batch_index=None,
        verdict=Verdict.NEVER_SENT,
        errors=(finding,) if lost else (),
        warnings=() if lost else (finding,),
        drop_reason=reason,
        context=context,
    )
