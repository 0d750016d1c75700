"""
A client that forgets to send once, and says that it did: the proof at the end of the demo must notice.
"""

from __future__ import annotations

import httpx

BATCH = "/api/v2/batch"


class _Forgetful(httpx.HTTPTransport):
    """Answers the third batch itself, as Customer.io would, and sends nothing."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self._batches = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._batches += request.url.path == BATCH
        if self._batches == 3 and request.url.path == BATCH:
            return httpx.Response(200, stream=httpx.ByteStream(b"{}"))
        return super().handle_request(request)


def forgetful() -> httpx.Client:
    """An HTTP client that loses one request and reports success."""
    return httpx.Client(transport=_Forgetful())
