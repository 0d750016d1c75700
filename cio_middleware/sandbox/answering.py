"""
Put an answer on the wire, or break the wire.

A reset needs the connection itself. The server's protocol leaves a function in ``scope["state"]["cut"]`` for
it (see `wire`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from cio_middleware.sandbox.faults import Act
    from cio_middleware.sandbox.replies import Reply


async def answer(reply: Reply, act: Act, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a reply, unless the fault says to stop before, in the middle, or never to begin."""
    if act.type == "hang":
        await _gone(receive)
    elif act.type == "ack_lost" or (act.type == "reset" and act.at == "before_reply"):
        await _cut(scope, receive)
    elif act.type == "reset":
        await _begin(reply, send)
        if act.at == "mid_body":
            await send({"type": "http.response.body", "body": reply.body[: len(reply.body) // 2], "more_body": True})
        await _cut(scope, receive)
    else:
        await _begin(reply, send)
        await send({"type": "http.response.body", "body": reply.body})


async def _begin(reply: Reply, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    if reply.status not in {204, 304}:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})


async def _cut(scope: Scope, receive: Receive) -> None:
    scope["state"]["cut"]()
    await _gone(receive)  # until the server has noticed; it would write a 500 to a connection that it believes open


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
