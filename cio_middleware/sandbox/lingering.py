"""
Let a client that is answered early finish sending, so that it reads the answer and no reset.

A server that closes a connection with bytes still unread resets it, and a client that sends its whole body before it
reads, as most do, then never sees the 413 or the 403 that it was sent.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from cio_middleware.sandbox.reading import header

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_BYTES = 64 * 1024 * 1024
"""What is read and thrown away of one body at most."""

LINGER_SECONDS = 2.0


class Lingering:
    """ASGI middleware that reads the rest of a body between an answer and its end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; the answer goes out at once, and only its end waits."""
        if scope["type"] != "http" or not _brings_body(scope):
            await self._app(scope, receive, send)
            return
        unread = True

        async def counted() -> Message:
            nonlocal unread
            message = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def lingering(message: Message) -> None:
            if message["type"] != "http.response.body" or message.get("more_body", False) or not unread:
                await send(message)
                return
            await send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await drain()
            await send({"type": "http.response.body"})

        async def drain() -> None:
            thrown = 0
            while unread and thrown <= LINGER_BYTES:
                thrown += len((await counted()).get("body", b""))

        await self._app(scope, counted, lingering)


def _brings_body(scope: Scope) -> bool:
    # Who expects a 100 waits for it, and sends nothing after another answer.
    chunked = header(scope, "transfer-encoding") is not None
    return (chunked or header(scope, "content-length") not in {None, "0"}) and header(scope, "expect") is None
