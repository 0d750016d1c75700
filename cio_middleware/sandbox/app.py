"""
The whole sandbox as one ASGI app: Customer.io at the root, its own API and page at ``/_sandbox``, guards around all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from cio_middleware.sandbox import page
from cio_middleware.sandbox.control import environment, routes
from cio_middleware.sandbox.guards import CONTROL, Guards
from cio_middleware.sandbox.lingering import Lingering
from cio_middleware.sandbox.track import Track
from cio_middleware.sandbox.veiling import Veiling

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from cio_middleware.sandbox.store import Workspaces


def build_app(workspaces: Workspaces) -> Starlette:
    """Return the app over the given state; two apps over one state show the same sandbox."""
    return Starlette(
        routes=[
            *routes(workspaces),
            *page.routes(),
            Route("/", _welcome),
            Route("/favicon.ico", _nothing_here),
            Route(CONTROL.rstrip("/"), _welcome),
            Mount(CONTROL.rstrip("/"), routes=[Route("/", _welcome), Route("/{rest:path}", _nothing_here)]),
            Mount("/", Track(workspaces)),
        ],
        middleware=[
            Middleware(Lingering),
            Middleware(Guards, access=workspaces.house.access),
            Middleware(Veiling, veil=workspaces.house.veil),
        ],
    )


WELCOME = """\
cio sandbox: a local Customer.io. Open {url} in a browser to look at it; this is for programs.

Point an app at it:
{exports}

Look at what came, newest first:
  {url}/_sandbox/v1/events      everything, each with its verdict
  {url}/_sandbox/v1/bad         what was refused or ignored, and why
  {url}/_sandbox/v1/people      who is known, and their attributes
  {url}/_sandbox/v1/requests    the requests as they came
  {url}/_sandbox/v1/summary     counts
  {url}/_sandbox/v1/faults      what is set to fail

In Python: cio_middleware.testing.Sandbox("{url}")
"""


async def _welcome(request: Request) -> Response:
    if page.wanted(request):
        return await page.front(request)
    url = str(request.base_url).rstrip("/")
    exports = "\n".join(f"  export {name}={value}" for name, value in environment(url).items())
    return PlainTextResponse(WELCOME.format(url=url, exports=exports))


async def _nothing_here(request: Request) -> Response:
    # A browser that looks around is no problem of the app under test, so it leaves no row.
    text = f"cio sandbox: nothing at {request.url.path}. / says what there is.\n"
    return PlainTextResponse(text, status_code=404)
