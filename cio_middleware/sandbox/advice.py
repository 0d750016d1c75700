"""
Warnings: what Customer.io answers with 200, and will not do what the caller hopes.

Each is one row of a table: a code, a question about a situation, and a fix. To add one, add a row and its
line in the test's table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.checks import MILLISECONDS_FROM
from cio_middleware.sandbox.verdicts import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cio_middleware.sandbox.operations import Operation

ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}", re.IGNORECASE)
"""Any 26 characters of Crockford's base 32: Customer.io checks the form and not the time inside."""

CAMPAIGN_WINDOW = 72 * 3600
CLOCK_SKEW = 60
EXACT_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class Situation:
    """
    An operation that was applied, when it arrived (Unix seconds), and whether its person was known before.
    """

    op: Operation
    now: float
    known: bool


@dataclass(frozen=True, slots=True)
class Advice:
    """One warning: `asks` returns the field and a sentence when it applies, else None."""

    code: str
    asks: Callable[[Situation], tuple[str, str] | None]
    fix: str


def advise(situation: Situation) -> tuple[Finding, ...]:
    """Return every warning that applies."""
    asked = ((advice, advice.asks(situation)) for advice in ADVICE)
    return tuple(Finding(advice.code, "warning", said[0], "", said[1], advice.fix) for advice, said in asked if said)


def is_ulid(value: Any) -> bool:
    """Return True for what Customer.io deduplicates by."""
    return isinstance(value, str) and ULID.fullmatch(value) is not None


def _milliseconds(situation: Situation) -> tuple[str, str] | None:
    for field, value in _times(situation.op):
        if value >= MILLISECONDS_FROM:
            return field, f"{field} {value} looks like milliseconds"
    return None


def _future(situation: Situation) -> tuple[str, str] | None:
    stamp = situation.op.timestamp
    if isinstance(stamp, int) and situation.now + CLOCK_SKEW < stamp < MILLISECONDS_FROM:
        return "timestamp", f"it is {stamp - int(situation.now)} seconds in the future"
    return None


def _too_old(situation: Situation) -> tuple[str, str] | None:
    stamp = situation.op.timestamp
    if situation.op.is_event and isinstance(stamp, int) and stamp < situation.now - CAMPAIGN_WINDOW:
        return "timestamp", "an event older than 72 hours is stored and starts no campaign"
    return None


def _not_ulid(situation: Situation) -> tuple[str, str] | None:
    event_id = situation.op.event_id
    if situation.op.is_event and event_id is not None and situation.op.api != "pipelines" and not is_ulid(event_id):
        return "id", "only a ULID makes Customer.io ignore a repeat, and this is none"
    return None


def _no_dedup_id(situation: Situation) -> tuple[str, str] | None:
    if situation.op.is_event and situation.op.event_id is None:
        field = "messageId" if situation.op.api == "pipelines" else "id"
        return field, f"without {field} a retry is stored as a second event"
    return None


def _nobody(situation: Situation) -> tuple[str, str] | None:
    if situation.known or situation.op.kind == "identify" or situation.op.subject != "person":
        return None
    return "identifiers", "nobody was identified by this identifier yet"


def _precision(situation: Situation) -> tuple[str, str] | None:
    below = _inexact(situation.op.attributes)
    if below is None:
        return None
    field = f"{situation.op.where}{below}"
    return field, f"{field} is an integer above 2**53, and whoever reads JSON numbers as doubles rounds it"


def _times(op: Operation) -> Iterator[tuple[str, int]]:
    attributes = op.attributes if isinstance(op.attributes, dict) else {}
    device = op.device if isinstance(op.device, dict) else {}
    stamps = {
        "timestamp": op.timestamp,
        "created_at": attributes.get("created_at"),
        "last_used": device.get("last_used"),
    }
    return ((field, value) for field, value in stamps.items() if isinstance(value, int))


def _inexact(value: Any) -> str | None:
    """Return the path to the first integer that a double cannot hold, or None."""
    if isinstance(value, int):
        return "" if abs(value) > EXACT_INTEGER else None
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        below = _inexact(member)
        if below is not None:
            return f".{key}{below}"
    return None


ADVICE: tuple[Advice, ...] = (
    Advice("W-ms-timestamp", _milliseconds, "Send Unix seconds: int(moment.timestamp())."),
    Advice("W-future-timestamp", _future, "Send the time at which it happened, and check the clock of the machine."),
    Advice("W-older-than-72h", _too_old, "Send it sooner if a campaign waits for it."),
    Advice("W-id-not-ulid", _not_ulid, "Mint a ULID when the event is captured, and keep it for every retry."),
    Advice("W-no-dedup-id", _no_dedup_id, "Mint a ULID when the event is captured, and keep it for every retry."),
    Advice("W-no-identify-yet", _nobody, "Identify the person before, or at least once."),
    Advice("W-number-precision", _precision, "Send it as a string."),
)
