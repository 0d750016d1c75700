"""
The whole sandbox as one ASGI app: Customer.io at the root, its own API at ``/_sandbox``, guards around both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from cio_middleware.sandbox.control import routes
from cio_middleware.sandbox.guards import CONTROL, Guards
from cio_middleware.sandbox.track import Track

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from cio_middleware.sandbox.store import Workspaces


def build_app(workspaces: Workspaces) -> Starlette:
    """Return the app over the given state; two apps over one state show the same sandbox."""
    return Starlette(
        routes=[
            *routes(workspaces),
            Route("/", _nothing_here),
            Route("/favicon.ico", _nothing_here),
            Route(CONTROL.rstrip("/"), _nothing_here),
            Mount(CONTROL.rstrip("/"), routes=[Route("/{rest:path}", _nothing_here)]),
            Mount("/", Track(workspaces)),
        ],
        middleware=[Middleware(Guards)],
    )


async def _nothing_here(request: Request) -> Response:
    # A browser that looks around is no problem of the app under test, so it leaves no row.
    text = f"cio sandbox: nothing at {request.url.path}. Look at /_sandbox/v1/info or /_sandbox/v1/events.\n"
    return PlainTextResponse(text, status_code=404)
