"""
Captures and counts, sends nothing: for `enabled=False`, and for tests that do not look at events.
"""

from __future__ import annotations

from .._events import Envelope, Receipt
from .._stats import DropReason


class NullBackend:
    """Every event is dropped{disabled}."""

    def emit(self, envelope: Envelope, item: bytes) -> Receipt:  # noqa: ARG002 - the signature of the Protocol
        """Drop the event."""
        return Receipt(reason=DropReason.DISABLED)

    def flush(self, timeout: float) -> bool:  # noqa: ARG002 - as above
        """Nothing ever waits."""
        return True

    def close(self, timeout: float) -> None:
        """Nothing to close."""
