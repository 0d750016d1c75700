"""
A connection that can be cut: uvicorn's HTTP/1.1 protocol, with a way for the app to reset it.

A reset is a TCP RST, not a polite close: the client sees `ECONNRESET`, as it does when a load balancer dies.
"""

from __future__ import annotations

import logging
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

_NO_LINGER = struct.pack("ii", 1, 0)


class CuttableProtocol(H11Protocol):
    """Leave ``cut`` in the state of every request on this connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the class above
        """Remember how to reset this connection."""
        super().connection_made(transport)
        self.logger = logging.getLogger(
            "cio_middleware.sandbox"
        )  # and not uvicorn's, which the host may use for itself
        # Turned off here as well: uvicorn looks for handlers, and a host that has some would log people's ids in paths.
        self.access_log = False
        self.app_state = {**self.app_state, "cut": partial(reset, transport)}


def reset(transport: asyncio.Transport) -> None:
    """Drop what was not sent yet, and send RST."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
