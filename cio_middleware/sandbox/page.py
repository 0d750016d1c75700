"""
The page that people look at: a fixed table of files from the package, each with headers that let nothing in.

No path is ever built from what was asked: a name that is not in the table does not exist. Scripts come from
files of ours alone, and the browser refuses every string as code (trusted types), so that a payload stays text.
"""

from __future__ import annotations

from hashlib import blake2b
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from cio_middleware.sandbox.guards import CONTROL

if TYPE_CHECKING:
    from starlette.requests import Request

FOLDER = files("cio_middleware.sandbox") / "page"
BASE = f"{CONTROL}page/"
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "txt": "text/plain; charset=utf-8",
}
FONTS = ("schibsted-grotesk.woff2", "commit-mono-400.woff2", "commit-mono-700.woff2")
LICENCES = ("schibsted-grotesk-OFL.txt", "commit-mono-OFL.txt")
STYLES = ("tokens.css", "frame.css", "list.css", "detail.css", "views.css", "small.css")
SCRIPTS = (
    "api.js", "changes.js", "controls.js", "detail.js", "differences.js", "dom.js", "empty.js", "events.js",
    "faults.js", "filter.js", "frame.js", "help.js", "keys.js", "levers.js", "list.js", "live.js",
    "main.js", "payload.js", "people.js", "person.js", "problems.js", "route.js", "rows.js",
    "share.js", "splitter.js", "stream.js", "strip.js", "theme.js", "timeline.js", "words.js",
)  # fmt: skip
TABLE = (
    "index.html",
    "lamp.svg",
    *(f"fonts/{name}" for name in (*FONTS, *LICENCES)),
    *(f"css/{name}" for name in STYLES),
    *(f"js/{name}" for name in SCRIPTS),
)

POLICY_PARTS = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "font-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
POLICY = "; ".join(POLICY_PARTS)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


def routes() -> list[Route]:
    """Return one route for each file of the table, but for the page itself, which stands at the root."""
    return [Route(f"{BASE}{name}", _Asset(name).answer) for name in TABLE if name != "index.html"]


def wanted(request: Request) -> bool:
    """Return True for a browser that looks; a program at a terminal gets text instead."""
    return "text/html" in request.headers.get("accept", "")


async def front(request: Request) -> Response:
    """Answer with the page."""
    return await _INDEX.answer(request)


class _Asset:
    """One file, read when it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._content: tuple[bytes, str] | None = None

    async def answer(self, request: Request) -> Response:
        """Answer with the file, or say that the browser has it already."""
        if self._content is None:
            body = (FOLDER / self._name).read_bytes()
            self._content = body, f'"{blake2b(body, digest_size=12).hexdigest()}"'
        body, tag = self._content
        headers = {**HEADERS, "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(body, media_type=TYPES[self._name.rpartition(".")[2]], headers=headers)


_INDEX = _Asset("index.html")
