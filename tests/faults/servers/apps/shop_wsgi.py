"""A WSGI application whose every request captures an event; some wait inside until the test lets them go on."""

from __future__ import annotations

import json
import os
import socket
from urllib.parse import parse_qs

import cio_middleware as cio
from cio_middleware.wsgi import CustomerIOMiddleware


def shop(environ, start_response):
    """Capture `n`, wait at the gate if there is one in the query, and say which process this was."""
    query = parse_qs(environ["QUERY_STRING"])
    sent = [cio.track("step", {"n": int(query["n"][0])}, person="ada")]
    if "gate" in query:
        with socket.create_connection(("127.0.0.1", int(query["gate"][0]))) as gate:
            gate.recv(1)
        sent.append(cio.track("after", {"n": int(query["n"][0])}, person="ada"))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "sent": sent}).encode()]


app = CustomerIOMiddleware(shop)
