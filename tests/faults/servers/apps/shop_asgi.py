"""An ASGI application whose every request captures an event; some wait inside until the test lets them go on."""

from __future__ import annotations

import asyncio
import json
import os
from urllib.parse import parse_qs

import cio_middleware as cio
from cio_middleware.asgi import CustomerIOMiddleware


async def shop(scope, receive, send):
    """Capture `n`, wait at the gate if there is one in the query, and say which process this was."""
    assert scope["type"] == "http"  # so that it knows no lifespan, as Django's application does not
    query = parse_qs(scope["query_string"].decode())
    sent = [cio.track("step", {"n": int(query["n"][0])}, person="ada")]
    if "gate" in query:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(query["gate"][0]))
        await reader.read(1)
        writer.close()
        sent.append(cio.track("after", {"n": int(query["n"][0])}, person="ada"))
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"pid": os.getpid(), "sent": sent}).encode()})


app = CustomerIOMiddleware(shop)
