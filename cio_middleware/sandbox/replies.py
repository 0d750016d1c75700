"""
What Customer.io answers: the bytes, the statuses and the two shapes of an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cio_middleware.sandbox.verdicts import Finding

HEADERS = (
    ("content-type", "application/json; charset=utf-8"),
    ("access-control-allow-origin", "*"),
    ("cache-control", "no-cache, no-store, must-revalidate, max-age=0"),
    ("via", "1.1 google"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
)
"""As recorded from the real Track API. Its `alt-svc` is left out: nothing here speaks HTTP/3."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = HEADERS


def success(status: int = 200) -> Reply:
    """Return the answer to a call that was taken: an empty object and a newline, or nothing with a 204."""
    headers = (*HEADERS, ("status", f"{status} {HTTPStatus(status).phrase}"))
    return Reply(status, b"" if status == HTTPStatus.NO_CONTENT else b"{}\n", headers)


def document(value: Any, status: int = 200) -> Reply:
    """Return an answer that carries JSON."""
    return Reply(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def refusal(api: str, status: int, findings: tuple[Finding, ...], shape: str = "meta") -> Reply:
    """Return an error in the shape of the API that was called; `shape` is that of Pipelines."""
    if api == "pipelines" and shape == "code":
        return document({"code": findings[0].reason, "message": findings[0].message}, status)
    if api == "track.v2":
        errors = [
            {"reason": finding.reason, "field": finding.field, "message": finding.message} for finding in findings
        ]
        return document({"errors": errors}, status)
    messages = [finding.message for finding in findings]
    return document({"meta": {"error": messages[0]} if len(messages) == 1 else {"errors": messages}}, status)


def partial(failed: list[tuple[int, tuple[Finding, ...]]]) -> Reply:
    """Return a 207: only the items that failed are named, by their place in the batch."""
    errors = [
        {"batch_index": index, "reason": finding.reason, "field": finding.field, "message": finding.message}
        for index, findings in failed
        for finding in findings
    ]
    return document({"errors": errors}, HTTPStatus.MULTI_STATUS)
