"""
One try to deliver one operation, as a value.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """
    One request that tried to deliver an operation.

    Attributes:
        n: Its number, from 1.
        at: When it arrived, in Unix seconds.
        status: What was answered; None when nothing was.
        fault: The kind of fault that it met; `label` says it in words.
        request: The id of the request.
        took_ms: From its arrival to its answer.
        retry_after: The seconds that the answer asked to wait.
        note: A sentence about when it came, where the attempt before it had asked to wait.
    """

    n: int
    at: float
    status: int | None
    fault: str | None
    label: str | None
    request: str
    took_ms: float
    retry_after: float | None
    batch_index: int | None
    batch_size: int
    method: str
    path: str
    note: str | None = None
    too_soon: bool = False

    @property
    def outcome(self) -> int | str:
        """The status, or the fault that gave no reply."""
        return self.status if self.status is not None else self.fault or "none"

    @property
    def ended_at(self) -> float:
        """When its answer went out, in Unix seconds."""
        return self.at + self.took_ms / 1000

    def document(self) -> dict[str, Any]:
        """Return the attempt as it appears in the control API."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
