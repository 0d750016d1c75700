"""
The emulated endpoints as an ASGI app: read, plan, wait if told to, carry out, answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from cio_middleware.sandbox import replies
from cio_middleware.sandbox.answering import answer
from cio_middleware.sandbox.emulator import Call, Emulator
from cio_middleware.sandbox.endpoints import api_of
from cio_middleware.sandbox.faults import OK
from cio_middleware.sandbox.guards import FULL, problem
from cio_middleware.sandbox.reading import BODY_BYTES, Disconnected, TooLarge, TooSlow, call_from, read_body
from cio_middleware.sandbox.store import DEFAULT_WORKSPACE, Full
from cio_middleware.sandbox.verdicts import Finding

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from cio_middleware.sandbox.store import Workspaces


class Track:
    """Customer.io's Track API, version 1 and 2, its Pipelines API, and the sends of its App API."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._emulator = Emulator(workspaces)
        self._clock = workspaces.house.clock
        self._patience = workspaces.house.patience
        self._token = workspaces.house.access.token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await read_body(scope, receive, self._patience)
        except Disconnected:
            return
        except (TooLarge, TooSlow) as error:
            await answer(_unread(scope["path"], error), OK, scope, receive, send)
            return
        try:
            plan = self._emulator.plan(self._discreet(call_from(scope, body, self._clock())))
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

    def _discreet(self, call: Call) -> Call:
        """Let no workspace be called by the token that a Bearer brought."""
        if call.credentials.name is None or call.credentials.name != self._token:
            return call
        return replace(call, credentials=replace(call.credentials, name=DEFAULT_WORKSPACE))


def _unread(path: str, error: Exception) -> replies.Reply:
    finding = Finding("E-body-too-large", "invalid", "", f"the body is above {BODY_BYTES} bytes")
    if isinstance(error, TooSlow):
        finding = Finding("E-body-too-slow", "invalid", "", "the body was not whole in time")
    reply = replies.refusal(api_of(path), 408 if isinstance(error, TooSlow) else 413, (finding,))
    return replies.Reply(reply.status, reply.body, (*reply.headers, ("connection", "close")))
