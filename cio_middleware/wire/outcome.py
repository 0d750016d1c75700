"""
What an answer means for the events of a request.

Per-item errors of a 207 are about that item for good; everything else concerns the whole request (TRACK-SPEC; confirmed
by the vendor's engineers in the threads cited in the documentation).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ..typing import Answer, Failure, Refusal, Response
from .regions import moved_to

MIN_RETRY_AFTER, MAX_RETRY_AFTER = 1.0, 600.0
_WHY_CHARACTERS = 300
_READ_BYTES = 64 * 1024  # what a transport reads of an answer
_NOT_VERIFIED = "ssl.SSLCertVerificationError"


class Verdict(enum.Enum):
    """What to do with a request's events."""

    TAKEN = "taken"
    """Done, but for the items in `refused`."""
    REFUSED = "refused"
    """Something in it is wrong: find which item."""
    TOO_LARGE = "too_large"
    """It is too large as a whole."""
    DENIED = "denied"
    """Nothing can be delivered until somebody changes a setting: keep everything and probe."""
    MOVED = "moved"
    """Send the same bytes to `base_url`."""
    BUSY = "busy"
    """Send the same bytes again, later."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    The meaning of one answer.

    `error` is a word for spans and logs: a status, or the name of an exception. `refused` gives Customer.io's reason
    by item, which may quote it. `retry_after` is in seconds, between 1 and 600.
    """

    verdict: Verdict
    status: int | None = None
    error: str = ""
    refused: Mapping[int, Refusal] = field(default_factory=dict, repr=False)
    retry_after: float | None = None
    base_url: str | None = None

    @property
    def is_for_all(self) -> bool:
        """Whether any other request would be answered the same: it is about the key, the address or the rate."""
        return self.verdict is Verdict.DENIED or self.status == 429 or self.retry_after is not None

    @property
    def is_about_events(self) -> bool:
        """Whether Customer.io has looked at the events."""
        return self.verdict in {Verdict.TAKEN, Verdict.REFUSED, Verdict.TOO_LARGE}


def read(answer: Answer, current_base: str, count: int | None) -> Outcome:
    """
    Judge an answer.

    Args:
        answer: What the transport brought.
        current_base: Where the request went.
        count: Items in the request; None when it was no batch.
    """
    if isinstance(answer, Failure):
        # Whoever answered is not who we look for, and will not be in a second: a wrong address, a proxy, a clock.
        return Outcome(Verdict.DENIED if answer.error == _NOT_VERIFIED else Verdict.BUSY, error=answer.error)
    status = answer.status
    error = str(status)
    if 200 <= status < 300:
        return _success(answer, count)
    if 300 <= status < 400:
        target = moved_to(current_base, answer.headers.get("location", ""))
        return Outcome(Verdict.MOVED if target else Verdict.DENIED, status, error, base_url=target)
    if status in {408, 425, 429} or status >= 500 or status < 200:
        return Outcome(Verdict.BUSY, status, error, retry_after=retry_after(answer))
    if status in {401, 403, 404, 405, 407}:
        return Outcome(Verdict.DENIED, status, error)
    if status == 413:
        return Outcome(Verdict.TOO_LARGE, status, error, {0: _why(_json(answer.body), "too large")})
    return Outcome(Verdict.REFUSED, status, error, {0: _why(_json(answer.body), f"answered {status}")})


def _success(answer: Response, count: int | None) -> Outcome:
    status = answer.status
    if not answer.body.strip() and status != 207:
        return Outcome(Verdict.TAKEN, status)
    decoded = _json(answer.body)
    if not isinstance(decoded, dict):
        if status == 207 and count is not None and count > 1 and len(answer.body) >= _READ_BYTES:
            # The list of errors is cut off. Resending it all would end here again; smaller requests get shorter lists.
            return Outcome(Verdict.TOO_LARGE, status, "answer_too_long")
        # Not Customer.io's: a proxy or a captive portal answered for it. Resending is harmless, believing it is not.
        return Outcome(Verdict.BUSY, status, "not_json", retry_after=retry_after(answer))
    errors = decoded.get("errors")
    if not errors:
        return Outcome(Verdict.TAKEN, status)
    why = _why(decoded, "refused")
    if count is None:
        return Outcome(Verdict.REFUSED, status, str(status), {0: why})
    if count == 1:
        # Whatever the index says, there is nothing else that it could be about.
        return Outcome(Verdict.TAKEN, status, "rejected", {0: why})
    refused: dict[int, Refusal] = {}
    for error in errors if isinstance(errors, list) else [None]:
        index = _index(error, count)
        if index is None:
            # Something is refused and nobody says what: smaller requests leave less to doubt.
            return Outcome(Verdict.TOO_LARGE, status, "unclear")
        refused.setdefault(index, _describe(error))
    return Outcome(Verdict.TAKEN, status, "rejected", refused)


def _index(error: object, count: int) -> int | None:
    """Which item an error is about; None when it does not say, or names one that was not sent."""
    given = error.get("batch_index") if isinstance(error, dict) else None
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 7:
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < count or given != int(given):
        return None
    return int(given)


def retry_after(answer: Response) -> float | None:
    """
    The wait that the server asked for, in seconds between 1 and 600; None when it did not ask, or not intelligibly.

    A date is measured against the answer's own `Date`, so that a wrong clock here or there changes nothing.
    """
    asked = answer.headers.get("retry-after", "").strip()
    try:
        seconds = float(asked) if asked else None
    except ValueError:
        until, now = _date(asked), _date(answer.headers.get("date", ""))
        seconds = None if until is None else until - (answer.received_at if now is None else now)
    if seconds is None or not seconds >= 0:
        return None
    return min(max(seconds, MIN_RETRY_AFTER), MAX_RETRY_AFTER)


def _date(text: str) -> float | None:
    try:
        parsed = parsedate_to_datetime(text)
        # A date without a zone is not this machine's: HTTP has only GMT (RFC 9110).
        return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _why(decoded: Any, otherwise: str) -> Refusal:
    """Customer.io's own words for a refused request, in either of its two forms."""
    if not isinstance(decoded, dict):
        return Refusal(otherwise)
    if errors := decoded.get("errors"):
        return _describe(errors[0] if isinstance(errors, list) else errors)
    meta = decoded.get("meta")
    if not isinstance(meta, dict):
        return Refusal(otherwise)
    errors = meta.get("errors") or meta.get("error")
    lines = filter(None, map(_line, errors if isinstance(errors, list) else [errors]))
    return Refusal("; ".join(lines)[:_WHY_CHARACTERS] or otherwise)


def _describe(error: Any) -> Refusal:
    if not isinstance(error, dict):
        return Refusal(_line(error) or "refused")
    described = Refusal(_line(error.get("reason")), _line(error.get("field")), _line(error.get("message")))
    return described if described.text else Refusal("refused")


def _line(text: object) -> str:
    """A text from outside as one short line; empty for what is no text."""
    found = text[:_WHY_CHARACTERS] if isinstance(text, str) else ""
    return "".join(char if char.isprintable() else " " for char in found)
