"""
A connection that can be cut: uvicorn's HTTP/1.1 protocol, with a way for the app to reset it.

A reset is a TCP RST, not a polite close: the client sees `ECONNRESET`, as it does when a load balancer dies.
"""

from __future__ import annotations

import logging
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cio_middleware.sandbox.lingering import LINGER_SECONDS

if TYPE_CHECKING:
    import asyncio

_NO_LINGER = struct.pack("ii", 1, 0)


class CuttableProtocol(H11Protocol):
    """
    Leave ``cut`` in the state of every request on this connection.

    Args:
        patience: Seconds in which the head of each request must be whole; whoever takes longer is cut off.
    """

    def __init__(self, *given: Any, patience: float, **more: Any) -> None:
        super().__init__(*given, **more)
        self._patience = patience
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the class above
        """Remember how to reset this connection."""
        super().connection_made(transport)
        self.logger = logging.getLogger(
            "cio_middleware.sandbox"
        )  # and not uvicorn's, which the host may use for itself
        # Turned off here as well: uvicorn looks for handlers, and a host that has some would log people's ids in paths.
        self.access_log = False
        self.app_state = {**self.app_state, "cut": partial(reset, transport)}
        self._refused = False
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._late = self.loop.call_later(self._patience, self._give_up)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Read on, unless what came was no HTTP; then the rest is thrown away."""
        if self._refused:
            return
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Watch for the next request, whose head may have begun behind the one that was answered."""
        super().on_response_complete()
        self._watch_head()

    def _watch_head(self) -> None:
        begun = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if not begun:
            self._stop_waiting()
        elif self._late is None:
            self._expect_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, and let its sender finish, who would otherwise see a reset and not the 400."""
        if self.cycle is not None and not self.cycle.response_complete:
            super().send_400_response(msg)
            return
        self._refused = True
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {len(msg)}\r\nconnection: close"
        )
        self.transport.write(f"{head}\r\n\r\n{msg}".encode("ascii"))
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


def reset(transport: asyncio.Transport) -> None:
    """Drop what was not sent yet, and send RST."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
