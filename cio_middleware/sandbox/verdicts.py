"""
The words of a judgement: one verdict for each operation, and findings that say what is wrong.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What became of one operation: a single call, or one item of a batch."""

    ACCEPTED = "accepted"
    """Stored."""
    ACCEPTED_BUT = "accepted_but"
    """Stored, with warnings: Customer.io answers 200 and then does less than the caller hopes."""
    IGNORED = "ignored"
    """Answered with success and not applied: suppressed, out of date, addressed to nobody."""
    DUPLICATE = "duplicate"
    """Answered with success: an event with this ULID, or the same merge, was seen before."""
    REJECTED = "rejected"
    """Refused with 4xx, or listed in a 207."""
    FAULT = "fault"
    """An injected fault answered; nothing was stored."""
    NEVER_SENT = "never_sent"
    """The client said that it gave this one up before any request was made of it."""

    @property
    def stored(self) -> bool:
        """True when the operation changed what Customer.io knows."""
        return self in {Verdict.ACCEPTED, Verdict.ACCEPTED_BUT}

    @property
    def good(self) -> bool | None:
        """
        True for what is stored, False for what is lost, None for what says nothing about the caller.

        What was never sent may have been meant so, or not: its row knows.
        """
        if self in {Verdict.DUPLICATE, Verdict.FAULT, Verdict.NEVER_SENT}:
            return None
        return self.stored

    def judged(self, *, strict: bool) -> bool | None:
        """Return `good`, except that under `strict` what was stored with warnings counts as bad."""
        return False if strict and self is Verdict.ACCEPTED_BUT else self.good


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that is wrong with an operation.

    `reason`, `field` and `message` are what Customer.io answers; `code`, `explain` and `fix` are the
    sandbox's own, for the person who reads.
    """

    code: str
    reason: str
    field: str
    message: str
    explain: str = ""
    fix: str = ""

    def document(self) -> dict[str, str]:
        """Return the finding as it appears in the control API."""
        return asdict(self)
