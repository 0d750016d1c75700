"""
Read a request from ASGI into a `Call`, and leave its secrets behind.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from cio_middleware.sandbox import access
from cio_middleware.sandbox.credentials import fingerprint, is_secret
from cio_middleware.sandbox.emulator import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope

BODY_BYTES = 1024 * 1024
"""The most that is read of a body. Twice what Customer.io takes, so that its own limit is what answers."""


class TooLarge(Exception):
    """A body above `BODY_BYTES`; reading stopped where that was known."""


class Disconnected(Exception):
    """The client went away before its request was whole."""


class TooSlow(Exception):
    """A body that was not whole in time."""


async def read_body(scope: Scope, receive: Receive, within: float) -> bytes:
    """
    Read a body, at most `BODY_BYTES` of it.

    Args:
        scope: The request.
        receive: What brings the body.
        within: Seconds in which it must be whole.

    Raises:
        TooLarge: as soon as the announced or the received length is above the cap.
        TooSlow: when the time is up.
        Disconnected: when the client goes away first.
    """
    return b"".join([part async for part in chunks(scope, receive, BODY_BYTES, within)])


async def chunks(scope: Scope, receive: Receive, most: int, within: float) -> AsyncIterator[bytes]:
    """
    Yield a body as it arrives.

    Raises:
        TooLarge: as soon as the announced or the received length is above `most`.
        TooSlow: when it is not whole after `within` seconds.
        Disconnected: when the client goes away first.
    """
    if int(header(scope, "content-length") or 0) > most:  # the server lets nothing through that is no number
        raise TooLarge
    received = 0
    deadline = asyncio.get_running_loop().time() + within
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise TooSlow from error
        if message["type"] == "http.disconnect":
            raise Disconnected
        body = message.get("body", b"")
        received += len(body)
        if received > most:
            raise TooLarge
        yield body
        if not message.get("more_body", False):
            return


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
        key=fingerprint(header(scope, "authorization")),
    )


def kept_headers(scope: Scope) -> tuple[tuple[str, str], ...]:
    """Return the headers that may be remembered."""
    pairs = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
    return tuple((name, value) for name, value in pairs if not is_secret(name))


def header(scope: Scope, name: str) -> str | None:
    """Return one header's value; the first one counts."""
    wanted = name.encode("latin-1")
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted), None)


def own_origin(scope: Scope) -> str:
    """Return the origin by which the caller reached this server."""
    return f"{scope['scheme']}://{header(scope, 'host') or ''}"
