"""
Keep web pages out: the sandbox answers this machine's own programs, by its own names.

The Host must be a loopback name, exactly, which stops DNS rebinding also for a GET without Origin. An Origin,
where there is one, must be the sandbox's own. What changes the sandbox itself needs a header that a page
cannot send without asking first.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from cio_middleware.sandbox.reading import header, own_origin

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

MUTATION_HEADER = "X-Cio-Sandbox"
CONTROL = "/_sandbox/"
NO_STORE = {"cache-control": "no-store"}
FULL = "Reuse a site id, free one with POST /_sandbox/v1/reset?workspace=<site id>, or start the sandbox again."
_OWN_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


class Guards:
    """ASGI middleware that refuses, with a sentence that says what to type."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = refuse(scope)
        await (refusal or self._app)(scope, receive, send)


def refuse(scope: Scope) -> Response | None:
    """Return the refusal of a request that must not get through."""
    host = header(scope, "host") or ""
    if not _OWN_HOST.fullmatch(host):
        return problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            "CIO-SBX-001",
            f'Host "{host[:200]}" is not allowed',
            f"Open http://127.0.0.1:{_port(scope)}.",
        )
    origin = header(scope, "origin")
    if origin is not None and origin.lower() != own_origin(scope).lower():
        return problem(
            HTTPStatus.FORBIDDEN,
            "CIO-SBX-003",
            "a web page of another origin called the sandbox",
            "Call it from a program.",
        )
    if header(scope, "sec-fetch-site") == "cross-site":
        return problem(
            HTTPStatus.FORBIDDEN,
            "CIO-SBX-003",
            "a web page of another site called the sandbox",
            "Call it from a program.",
        )
    changes = scope["method"] not in {"GET", "HEAD", "OPTIONS"}
    if changes and scope["path"].startswith(CONTROL) and header(scope, MUTATION_HEADER.lower()) != "1":
        return problem(
            HTTPStatus.FORBIDDEN,
            "CIO-SBX-004",
            f"{scope['method']} changes the sandbox",
            f"Add the header {MUTATION_HEADER}: 1",
        )
    return None


def problem(status: int, code: str, message: str, fix: str) -> Response:
    """Return an error of the sandbox itself: what happened, and what to type."""
    return shown({"error": {"code": code, "message": message, "fix": fix}}, status)


def shown(value: Any, status: int = HTTPStatus.OK) -> Response:
    """Return an answer of the sandbox's own that carries JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # A payload may hold half a surrogate pair, which is no UTF-8: it goes out as the escape that it came in as.
    body = text.encode("utf-8", "backslashreplace")
    return Response(body, status, media_type="application/json", headers=NO_STORE)


def _port(scope: Scope) -> int | str:
    server = scope.get("server")
    return server[1] if server else "<port>"
