"""
Put the veil over every answer of the control API, whoever wrote it: JSON, lines of JSON, and streams of events.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cio_middleware.sandbox.guards import CONTROL

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from cio_middleware.sandbox.veil import Veil

_WHOLE = "application/json"
_LINES = ("application/x-ndjson", "text/event-stream")


class Veiling:
    """
    ASGI middleware.

    Args:
        app: What answers.
        veil: The masks; one that masks nothing costs nothing.
    """

    def __init__(self, app: ASGIApp, veil: Veil) -> None:
        self._app = app
        self._veil = veil

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the masks in its address taken off, and its answer back with them on."""
        if not self._veil or scope["type"] != "http" or not scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        query = self._veil.off(scope["query_string"].decode("latin-1")).encode("latin-1")
        raw = self._veil.off(scope["raw_path"].decode("latin-1"))
        shown = {**scope, "query_string": query, "raw_path": raw.encode("latin-1"), "path": self._path(scope["path"])}
        # A refusal repeats what it was asked, in part or in other words, where no mask would be found any more: it is
        # made from the address as it came. A GET changes nothing, so that it may be asked twice.
        unmasked = scope["method"] == "GET" and shown != scope
        answer = _Veiled(send, self._veil, keep_refusal=unmasked)
        await self._app(shown, receive, answer)
        if answer.refused:
            await self._app(scope, receive, _Veiled(send, self._veil))

    def _path(self, path: str) -> str:
        return unquote(self._veil.off(path)) if "masked-" in path else path


class _Veiled:
    """A `send` that keeps the beginning of an answer until it knows how long that is."""

    def __init__(self, send: Send, veil: Veil, *, keep_refusal: bool = False) -> None:
        self.refused = False
        self._keep_refusal = keep_refusal
        self._send = send
        self._veil = veil
        self._start: Message = {}
        self._media = ""
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._keep_refusal and message["status"] >= 400:
            self.refused = True
        if self.refused:
            return
        if message["type"] == "http.response.start":
            headers = {name.lower(): value for name, value in message.get("headers", ())}
            self._media = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0]
            self._start = message
            if self._media in _LINES:
                await self._send(self._begun(None))
            elif self._media != _WHOLE:
                await self._send(message)
        elif message["type"] != "http.response.body":
            await self._send(message)
        elif self._media in _LINES:
            await self._send({**message, "body": self._lines(message)})
        elif self._media == _WHOLE:
            await self._whole(message)
        else:
            await self._send(message)

    def _begun(self, length: int | None) -> Message:
        kept = [(name, value) for name, value in self._start["headers"] if name.lower() != b"content-length"]
        counted = [] if length is None else [(b"content-length", str(length).encode())]
        return {**self._start, "headers": [*kept, *counted]}

    async def _whole(self, message: Message) -> None:
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = self._over(self._body)
        await self._send(self._begun(len(body)))
        await self._send({**message, "body": body})

    def _lines(self, message: Message) -> bytes:
        *whole, self._body = (self._body + message.get("body", b"")).split(b"\n")
        if not message.get("more_body", False) and self._body:
            whole, self._body = [*whole, self._body], b""
        return b"".join(self._line(line) + b"\n" for line in whole)

    def _line(self, line: bytes) -> bytes:
        prefix = b"data: " if line.startswith(b"data: ") else b""
        return prefix + self._over(line.removeprefix(prefix))

    def _over(self, text: bytes) -> bytes:
        try:
            value = self._veil.over(json.loads(text))
        except ValueError:  # a comment of a stream, or an answer that has no body
            return self._veil.over_text(text.decode("utf-8", "replace")).encode()
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
