"""
The emulated endpoints as an ASGI app: read, plan, wait if told to, carry out, answer.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from cio_middleware.sandbox import replies
from cio_middleware.sandbox.answering import answer
from cio_middleware.sandbox.emulator import Emulator
from cio_middleware.sandbox.endpoints import api_of
from cio_middleware.sandbox.faults import OK
from cio_middleware.sandbox.guards import FULL, problem
from cio_middleware.sandbox.reading import BODY_BYTES, Disconnected, TooLarge, call_from, read_body
from cio_middleware.sandbox.store import Full
from cio_middleware.sandbox.verdicts import Finding

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from cio_middleware.sandbox.store import Workspaces


class Track:
    """Customer.io's Track API, version 1 and 2, its Pipelines API, and the sends of its App API."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._emulator = Emulator(workspaces)
        self._clock = workspaces.house.clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await read_body(scope, receive)
        except Disconnected:
            return
        except TooLarge:
            await answer(_too_large(scope["path"]), OK, scope, receive, send)
            return
        try:
            plan = self._emulator.plan(call_from(scope, body, self._clock()))
        except Full as full:
            refusal = problem(HTTPStatus.SERVICE_UNAVAILABLE, "CIO-SBX-007", str(full), FULL)
            await refusal(scope, receive, send)
            return
        if plan.decision.delay_ms:
            try:
                await asyncio.sleep(plan.decision.delay_ms / 1000)
            except asyncio.CancelledError:  # the server stops: what was not stored yet never will be
                return
        reply = self._emulator.carry_out(plan)
        await answer(reply, plan.decision.act, scope, receive, send)


def _too_large(path: str) -> replies.Reply:
    reply = replies.refusal(
        api_of(path), 413, (Finding("E-body-too-large", "invalid", "", f"the body is above {BODY_BYTES} bytes"),)
    )
    return replies.Reply(reply.status, reply.body, (*reply.headers, ("connection", "close")))
