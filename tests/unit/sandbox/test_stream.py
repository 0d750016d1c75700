"""A stream without a network: what is said while nothing happens."""

from __future__ import annotations

import asyncio

from cio_middleware.sandbox.store import Workspaces
from cio_middleware.sandbox.stream import Pace, Streams


def test_silence_is_filled_with_heartbeats():
    """A comment after so many seconds, so that nothing in between believes the line dead."""
    streams = Streams(Workspaces(), "1", Pace(heartbeat=0.02))
    said: list[bytes] = []

    async def listen() -> None:
        heard = asyncio.Event()

        async def send(message):
            said.append(message.get("body", b""))
            if said.count(b": heartbeat\n\n") == 2:
                heard.set()

        async def receive():
            await heard.wait()
            return {"type": "http.disconnect"}

        await streams.stream("dev", None)({"type": "http"}, receive, send)

    asyncio.run(asyncio.wait_for(listen(), 5))
    assert said[1] == b": cio sandbox\nretry: 1000\n\n"
    assert streams.open == 0
