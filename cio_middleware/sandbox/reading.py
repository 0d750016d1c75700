"""
Read a request from ASGI into a `Call`, and leave its secrets behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from cio_middleware.sandbox import access
from cio_middleware.sandbox.emulator import Call

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

BODY_BYTES = 1024 * 1024
"""The most that is read of a body. Twice what Customer.io takes, so that its own limit is what answers."""

SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})


class TooLarge(Exception):
    """A body above `BODY_BYTES`; reading stopped where that was known."""


class Disconnected(Exception):
    """The client went away before its request was whole."""


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """
    Read a body, at most `BODY_BYTES` of it.

    Raises:
        TooLarge: as soon as the announced or the received length is above the cap.
        Disconnected: when the client goes away first.
    """
    if int(header(scope, "content-length") or 0) > BODY_BYTES:  # the server lets nothing through that is no number
        raise TooLarge
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        if len(body) > BODY_BYTES:
            raise TooLarge
        if not message.get("more_body", False):
            return bytes(body)


def call_from(scope: Scope, body: bytes, now: float) -> Call:
    """Return the request as a value, without credentials."""
    query = scope["query_string"].decode("latin-1")
    return Call(
        method=scope["method"],
        raw_path=scope["raw_path"],
        query=dict(parse_qsl(query)),
        query_string=query,
        headers=kept_headers(scope),
        body=body,
        credentials=access.read(header(scope, "authorization")),
        origin=own_origin(scope),
        at=now,
    )


def kept_headers(scope: Scope) -> tuple[tuple[str, str], ...]:
    """Return the headers that may be remembered."""
    pairs = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
    return tuple((name, value) for name, value in pairs if name not in SECRET)


def header(scope: Scope, name: str) -> str | None:
    """Return one header's value; the first one counts."""
    wanted = name.encode("latin-1")
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted), None)


def own_origin(scope: Scope) -> str:
    """Return the origin by which the caller reached this server."""
    return f"{scope['scheme']}://{header(scope, 'host') or ''}"
