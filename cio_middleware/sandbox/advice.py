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
from cio_middleware.sandbox.lessons import NAMES, NOTHING
from cio_middleware.sandbox.verdicts import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cio_middleware.sandbox.lessons import Lesson
    from cio_middleware.sandbox.operations import Operation

ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}", re.IGNORECASE)
"""Any 26 characters of Crockford's base 32: Customer.io checks the form and not the time inside."""

CAMPAIGN_WINDOW = 72 * 3600
CLOCK_SKEW = 60
EXACT_INTEGER = 2**53
OVERRIDES = ("recipient", "from_address", "reply_to")
"""Members of an event's data that replace what the campaign says."""

_SNAKE = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
_IN_A_NAME = re.compile(
    r"[^\s@]+@[^\s@]+\.[^\s@]+"
    r"|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|(?<![0-9A-Z])(?=[A-Z]*\d)[0-9A-HJKMNP-TV-Z]{26}(?![0-9A-Z])"
    r"|\d{5,}",
    re.IGNORECASE,
)
"""An email, a UUID, a ULID, or five digits in a row: no name of an event has those by itself."""


@dataclass(frozen=True, slots=True)
class Situation:
    """
    An operation that was applied.

    Attributes:
        now: When it arrived, in Unix seconds.
        known: Whether its person was known before.
        lesson: What the workspace remembers about it.
    """

    op: Operation
    now: float
    known: bool
    lesson: Lesson = NOTHING


@dataclass(frozen=True, slots=True)
class Advice:
    """
    One warning.

    Attributes:
        asks: Returns the field and a sentence when it applies, else None.
        when: When that is, for the reference.
        fix: What to do about it.
    """

    code: str
    asks: Callable[[Situation], tuple[str, str] | None]
    when: str
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


def _no_email(situation: Situation) -> tuple[str, str] | None:
    if situation.lesson.email_missing:
        return situation.op.where, "others here have an email and this person has none, so no email can reach them"
    return None


def _email_as_id(situation: Situation) -> tuple[str, str] | None:
    own = situation.lesson.id_is_email
    if own is not None:
        return f"{situation.op.where}.email", "the id of this person is an email, and stays the old one"
    return None


def _style(situation: Situation) -> tuple[str, str] | None:
    # By Pipelines, names in Title Case are the custom, and Customer.io's own are written so.
    name = _event_name(situation.op)
    if name is None or situation.op.api == "pipelines" or (_SNAKE.fullmatch(name) and name == name.lower()):
        return None
    return "name", "names are told apart by every letter, and this one is not in snake_case"


def _names_somebody(situation: Situation) -> tuple[str, str] | None:
    name = _event_name(situation.op)
    if name is not None and _IN_A_NAME.search(name):
        return (
            "name",
            "an id or an email is in it, so every event has a name of its own and no campaign can be built on it",
        )
    return None


def _crowded(situation: Situation) -> tuple[str, str] | None:
    beginning = situation.lesson.beginning
    if beginning is not None:
        return "name", f"more than {NAMES} names begin with {beginning!r:.80}: is something in them that changes?"
    return None


def _drift(situation: Situation) -> tuple[str, str] | None:
    if situation.lesson.drift is None:
        return None
    attribute, was, now = situation.lesson.drift
    return f"{situation.op.where}.{attribute}", f"it was {was} and is {now} now: a segment compares one or the other"


def _override(situation: Situation) -> tuple[str, str] | None:
    op = situation.op
    if not op.is_event or op.api == "pipelines" or not isinstance(op.attributes, dict):
        return None
    # An invite event goes to its recipient, so there it is no surprise.
    names = OVERRIDES if op.identifiers else OVERRIDES[1:]
    found = next((name for name in names if name in op.attributes), None)
    return (
        None if found is None else (f"{op.where}.{found}", f"{found} replaces what the campaign says, for this event")
    )


def _edge_spaces(situation: Situation) -> tuple[str, str] | None:
    name = situation.op.name
    if situation.op.is_event and isinstance(name, str) and name != name.strip():
        return "name", "the spaces around it are cut off"
    return None


def _empty_deletes(situation: Situation) -> tuple[str, str] | None:
    op = situation.op
    if op.kind != "identify" or not isinstance(op.attributes, dict):
        return None
    found = next((name for name, value in op.attributes.items() if value == ""), None)
    return None if found is None else (f"{op.where}.{found}", "an empty text is not stored: it deletes the attribute")


def _too_soon(situation: Situation) -> tuple[str, str] | None:
    if situation.lesson.early is None:
        return None
    asked, came = situation.lesson.early
    return "Retry-After", f"Retry-After asked for {asked:.3g} s, and the next attempt came after {max(came, 0):.2f} s"


def _reordered(situation: Situation) -> tuple[str, str] | None:
    if not situation.lesson.overtaken:
        return None
    field_name = "_timestamp" if situation.op.api == "track.v1" else "timestamp"
    return field_name, "it is older than what was known, and without a time it has overwritten that"


def _unregistered(situation: Situation) -> tuple[str, str] | None:
    if situation.lesson.registered is False:
        return "name", "the registry does not have it"
    return None


def _event_name(op: Operation) -> str | None:
    """The name of what is an event; a page and a screen are named as they are."""
    return op.name.strip() if op.is_event and op.kind == "event" and isinstance(op.name, str) else None


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
    Advice(
        "W-ms-timestamp",
        _milliseconds,
        "a time is so large that it must be in milliseconds",
        "Send Unix seconds: int(moment.timestamp()).",
    ),
    Advice(
        "W-future-timestamp",
        _future,
        "the timestamp is more than a minute ahead",
        "Send the time at which it happened, and check the clock of the machine.",
    ),
    Advice(
        "W-older-than-72h",
        _too_old,
        "an event is older than 72 hours, so it starts no campaign",
        "Send it sooner if a campaign waits for it.",
    ),
    Advice(
        "W-id-not-ulid",
        _not_ulid,
        "an event's id is no ULID, so a repeat of it is stored again",
        "Mint a ULID when the event is captured, and keep it for every retry.",
    ),
    Advice(
        "W-no-dedup-id",
        _no_dedup_id,
        "an event has no id, so a repeat of it is stored again",
        "Mint a ULID when the event is captured, and keep it for every retry.",
    ),
    Advice(
        "W-no-identify-yet",
        _nobody,
        "nobody was identified by this identifier",
        "Identify the person before, or at least once.",
    ),
    Advice(
        "W-number-precision",
        _precision,
        "a whole number is above 2**53, which a reader of doubles rounds",
        "Send it as a string.",
    ),
    Advice(
        "W-no-email",
        _no_email,
        "an identified person has no email, and others in the workspace have one",
        "Send the email with identify, if the person has one.",
    ),
    Advice(
        "W-email-as-id-changed",
        _email_as_id,
        "a person's id is an email, and the email that is sent is another",
        "Identify by an id that never changes, and send the email beside it.",
    ),
    Advice(
        "W-name-not-snake-case",
        _style,
        "an event's name is not in snake_case; by Pipelines, Title Case is the custom",
        "Write it like order_placed, everywhere the same.",
    ),
    Advice(
        "W-name-has-id-or-email",
        _names_somebody,
        "an email, a UUID, a ULID or five digits in a row are in an event's name",
        "Put the part that changes into the data.",
    ),
    Advice(
        "W-name-cardinality",
        _crowded,
        "50 other names of events begin with the same word",
        "Put the part that changes into the data.",
    ),
    Advice(
        "W-type-drift",
        _drift,
        "an attribute was sent with another type before; null and an empty text count as none",
        "Send one type, or use another name for the other.",
    ),
    Advice(
        "W-reserved-override",
        _override,
        "`recipient`, `from_address` or `reply_to` is in an event's data, and it is no invitation",
        "Use another name, unless that is what you want.",
    ),
    Advice(
        "W-name-edge-spaces",
        _edge_spaces,
        "spaces stand before or after a name; they are cut off",
        "Send the name without them.",
    ),
    Advice(
        "W-empty-attribute-deletes",
        _empty_deletes,
        "an attribute is an empty text, which is not stored but deletes it",
        "Leave it out to keep it, or send null to say that you mean it.",
    ),
    Advice(
        "W-retry-too-soon",
        _too_soon,
        "an attempt came before the time that Retry-After had asked for",
        "Wait as long as Retry-After says.",
    ),
    Advice(
        "W-identify-reordered",
        _reordered,
        "an identify without a time overwrote a newer one: it had failed before, or its `_updated_at` is older",
        "Send the time of the change, and a late one is skipped.",
    ),
    Advice(
        "W-unregistered-event",
        _unregistered,
        "a registry is loaded, and an event's name is not in it",
        "Add it to the registry, or mend the name.",
    ),
)
