"""
What Customer.io documents as a limit, and what it leaves open: every guess of this sandbox, in one place.

`Limits` holds numbers that the vendor's API reference and its list of error messages state. `Fidelity` holds
the choices that no source settles; each says what is known, so that a reader can tell a fact from a decision,
and a test can take the other side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Limits:
    """Documented limits. Sizes are bytes of UTF-8, never characters; exactly the limit is accepted."""

    identifier_bytes: int = 150
    attribute_name_bytes: int = 150
    attribute_value_bytes: int = 1000
    attributes_per_call: int = 300
    event_name_bytes: int = 100
    event_data_bytes: int = 100_000
    object_attributes_bytes: int = 100_000
    segment_ids: int = 1000
    item_kilobytes: int = 32
    batch_kilobytes: int = 500


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Choices that no source settles, with the cautious side as the default."""

    limits: Limits = field(default_factory=Limits)

    kilobyte: int = 1000
    """
    The reference says "kb". 1024 would let through what may be refused, so the sandbox is the stricter one.
    """

    page_name_bytes: int = 500
    """
    A page's name is its URL, which is routinely longer than an event's 100 bytes. Unverified: the list of invalid
    requests (DOC:invalid-api-requests) has "event name must be less than 500 characters" beside "cannot be longer
    than 100 bytes", and says of neither which names it is about.
    """

    unknown_person: Literal["keep", "drop"] = "keep"
    """
    An event for a person never identified: kept under its identifier until an identify claims it, or accepted
    and dropped.
    """

    email_update_by_id: bool = True
    """
    A workspace setting: may an identify addressed by `id` change the email. Without it only ``cio_``
    addressing may.
    """

    late_merge_seconds: float = 300.0
    """
    An anonymous event that arrives after its visitor was identified still merges within five minutes
    (documented, not exact).
    """

    oversized_status: int = 400
    """The status of a body above the limit of its endpoint. 413 is as plausible."""

    unauthorized: str = "Unauthorized"
    """The text of a 401. Its body is undocumented."""

    retry_after_on_429: str | None = None
    """Added to an injected 429 that names no header of its own. Customer.io documents none."""

    non_finite: Literal["refuse", "discard"] = "refuse"
    """
    A number that no double holds: NaN, Infinity, 1e999. ``discard`` answers 200 and applies nothing, which is what NaN
    got in 2017 (ISSUE:customerio-python#34); whether it still does is unverified. Refused with 400, because a client
    must never send one and an update that vanishes shows nobody that it did.
    """

    batch_items: int = 10_000
    """
    Items of one batch that are read. Undocumented, and out of reach of valid ones: as many do not fit in 500 kB.
    """

    json_depth: int = 64
    """
    Nesting that is read before the body is refused. Undocumented; the sandbox needs one to keep its stack.
    """

    def item_bytes(self) -> int:
        """Return the largest v2 item, in bytes as sent."""
        return self.limits.item_kilobytes * self.kilobyte

    def batch_bytes(self) -> int:
        """Return the largest v2 batch body, in bytes as sent."""
        return self.limits.batch_kilobytes * self.kilobyte
