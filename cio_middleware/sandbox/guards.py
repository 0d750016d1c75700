"""
Keep web pages and strangers out: the sandbox answers this machine's own programs, by its own names.

The Host must be a known name, exactly, which stops DNS rebinding also for a GET without Origin. An Origin, where there
is one, must be the sandbox's own or one that was allowed. What changes the sandbox itself needs a header that a page
cannot send without asking first. A sandbox that others can reach asks every call for its token.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.responses import RedirectResponse, Response

from cio_middleware.sandbox.entrance import ENTRANCE, TOKEN_HEADER, Access
from cio_middleware.sandbox.reading import header, own_origin

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MUTATION_HEADER = "X-Cio-Sandbox"
CONTROL = "/_sandbox/"
NO_STORE = {"cache-control": "no-store"}
FULL = "Reuse a site id, free one with POST /_sandbox/v1/reset?workspace=<site id>, or start the sandbox again."
HEAD_BYTES = 16 * 1024
"""Bytes of the path and the headers of a request at most."""


class Guards:
    """
    ASGI middleware that refuses, with a sentence that says what to type.

    Args:
        app: What is guarded.
        access: Who may come in; None means this machine alone, without a token.
    """

    def __init__(self, app: ASGIApp, access: Access | None = None) -> None:
        self._app = app
        self._access = access or Access()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = header(scope, "origin")
        if origin is not None and self._access.welcomes(origin):
            send = _open_to(origin, send)
        answer = refuse(scope, self._access) or self._enter(scope)
        await (answer or self._app)(scope, receive, send)

    def _enter(self, scope: Scope) -> Response | None:
        if scope["path"] != ENTRANCE:
            return None
        ticket = parse_qs(scope["query_string"].decode("latin-1")).get("ticket", [""])[0]
        cookie = self._access.enter(ticket, _port(scope)) if scope["method"] == "GET" else None
        if cookie is None:
            said = "this link was used, or is not one of this sandbox"
            return problem(HTTPStatus.FORBIDDEN, "CIO-SBX-010", said, "Ask for another: POST /_sandbox/v1/ticket")
        return RedirectResponse("/", HTTPStatus.SEE_OTHER, {"set-cookie": cookie, **NO_STORE})


def refuse(scope: Scope, access: Access) -> Response | None:
    """Return the refusal of a request that must not get through."""
    if len(scope["raw_path"]) + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > HEAD_BYTES:
        said = f"the path and the headers are above {HEAD_BYTES} bytes"
        return problem(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "CIO-SBX-008", said, "Send fewer or shorter headers."
        )
    server = scope.get("server")
    host = header(scope, "host") or ""
    if not access.knows(host, server[0] if server else None):
        fix = f"Open http://127.0.0.1:{_port(scope)}, or start the sandbox with --allow-host NAME."
        return problem(HTTPStatus.MISDIRECTED_REQUEST, "CIO-SBX-001", f'Host "{host[:200]}" is not allowed', fix)
    return _from_elsewhere(scope, access) or _unchecked(scope, access)


def _from_elsewhere(scope: Scope, access: Access) -> Response | None:
    origin, site = header(scope, "origin"), header(scope, "sec-fetch-site")
    if origin is not None and access.welcomes(origin):
        asked = scope["method"] == "OPTIONS" and header(scope, "access-control-request-method") is not None
        return Response(status_code=HTTPStatus.NO_CONTENT) if asked else None
    # Another port of this machine is the same site to a browser; only who follows a link from there is let in.
    linked = scope["method"] == "GET" and header(scope, "sec-fetch-mode") == "navigate"
    elsewhere = site == "cross-site" or (site == "same-site" and not linked)
    if elsewhere or (origin is not None and origin.lower() != own_origin(scope).lower()):
        said = "a web page of another site called the sandbox"
        fix = "Call it from a program, or start the sandbox with --allow-origin ORIGIN."
        return problem(HTTPStatus.FORBIDDEN, "CIO-SBX-003", said, fix)
    return None


def _unchecked(scope: Scope, access: Access) -> Response | None:
    offered = [header(scope, name) for name in (TOKEN_HEADER, "authorization", "cookie")]
    if scope["path"] != ENTRANCE and not access.admits(_port(scope), *offered):
        said = "this sandbox is reachable by others, and asks every call for its token"
        fix = "Send X-Cio-Token, use the token as the API key, or open the link that the sandbox printed."
        return problem(HTTPStatus.UNAUTHORIZED, "CIO-SBX-010", said, fix)
    changes = scope["method"] not in {"GET", "HEAD", "OPTIONS"}
    if changes and scope["path"].startswith(CONTROL) and header(scope, MUTATION_HEADER.lower()) != "1":
        said = f"{scope['method']} changes the sandbox"
        return problem(HTTPStatus.FORBIDDEN, "CIO-SBX-004", said, f"Add the header {MUTATION_HEADER}: 1")
    return None


_ALLOWED_HEADERS = f"Authorization, Content-Type, X-Cio-Token, X-Cio-Workspace, {MUTATION_HEADER}, X-Strict-Mode"


def _open_to(origin: str, send: Send) -> Send:
    """Add what lets a page of an origin that was allowed read the answer; nothing else ever does."""
    told = {
        b"access-control-allow-origin": origin.encode("latin-1"),
        b"access-control-allow-methods": b"GET, POST, PUT, DELETE",
        b"access-control-allow-headers": _ALLOWED_HEADERS.encode("latin-1"),
        b"access-control-max-age": b"600",
        b"vary": b"Origin",
    }

    async def opened(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in told]
            message = {**message, "headers": [*kept, *told.items()]}
        await send(message)

    return opened


def problem(status: int, code: str, message: str, fix: str, **more: Any) -> Response:
    """Return an error of the sandbox itself: what happened, and what to type; and what else helps, beside it."""
    return shown({"error": {"code": code, "message": message, "fix": fix}, **more}, status)


def shown(value: Any, status: int = HTTPStatus.OK) -> Response:
    """Return an answer of the sandbox's own that carries JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # A payload may hold half a surrogate pair, which is no UTF-8: it goes out as the escape that it came in as.
    body = text.encode("utf-8", "backslashreplace")
    return Response(body, status, media_type="application/json", headers=NO_STORE)


def _port(scope: Scope) -> int | str:
    server = scope.get("server")
    return server[1] if server else "<port>"
