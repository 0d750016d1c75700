"""
The least that can be called an event sender: a deque, one thread, one connection. It promises nothing.

It shows what Python itself costs, so it is a floor under the microseconds and a ceiling over the events per second.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from http.client import HTTPConnection
from typing import Any

import msgspec

_BATCH = 100


class Floor:
    """Takes an event by appending a tuple; a thread that looks every 2 ms sends a hundred at a time."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(url.removeprefix("http://"))
        self._waiting: deque[tuple[str, str, dict[str, Any], float]] = deque()
        self._open = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def track(self, person: str, name: str, attributes: dict[str, Any]) -> None:
        """Take an event."""
        self._waiting.append((person, name, attributes, time.time()))

    def close(self) -> None:
        """Send what waits, and stop."""
        self._open = False
        self._thread.join()

    def _run(self) -> None:
        while self._waiting or self._open:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            if not batch:
                time.sleep(0.002)
                continue
            items = [{"id": who, "name": what, "timestamp": at, "attributes": data} for who, what, data, at in batch]
            self._connection.request("POST", "/", msgspec.json.encode({"batch": items}))
            self._connection.getresponse().read()
