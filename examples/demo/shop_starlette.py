"""
A shop on Starlette. Two lines bring its events to Customer.io: the middleware, and `@track_event` on a view.

Who did it comes from the app's own sign-in: `AuthenticationMiddleware` sets `request.user`, and each event asks for it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import cio_middleware as cio
from cio_middleware.asgi import CustomerIOMiddleware

from .goods import PRICES, Books, CardDeclined, Order

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request

books = Books()
sessions: dict[str, str] = {}


class Customer(BaseUser):
    """Who is signed in."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def identity(self) -> str:
        """The customer, as Customer.io knows them."""
        return self._name

    @property
    def is_authenticated(self) -> bool:
        """Somebody is signed in, else there would be no `Customer`."""
        return True


class SessionCookie(AuthenticationBackend):
    """Finds the customer by the session that their browser brings."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, Customer] | None:
        """Return who is signed in, or None."""
        name = sessions.get(conn.cookies.get("session", ""))
        return (AuthCredentials(["customer"]), Customer(name)) if name else None


async def home(request: Request) -> Response:
    """Nobody has to be signed in: the event goes to the browser's anonymous id, and to the person once they sign in."""
    cio.page(str(request.url))
    return PlainTextResponse("Spades, seeds, and what else a garden needs.")


@cio.track_event("product_viewed", attributes=lambda call: {"sku": call.arguments["request"].path_params["sku"]})
async def product(request: Request) -> Response:
    """A view that is an event: the decorator captures it when the view has returned."""
    return PlainTextResponse(str(PRICES[request.path_params["sku"]]))


async def sign_up(request: Request) -> Response:
    """`form_sent` is captured before anybody is known, and waits in the request until `identify` says who it was."""
    form = await request.json()
    cio.track("form_sent", {"form": "sign_up"})
    account = books.sign_up(form["customer"], form["email"], form["plan"], form["joined"])
    cio.identify(form["customer"], account)
    cio.track("signed_up", {"plan": account.plan})
    return _signed_in(form["customer"])


async def log_in(request: Request) -> Response:
    """The same for somebody who comes back."""
    form = await request.json()
    cio.track("form_sent", {"form": "log_in"})
    cio.identify(form["customer"], {"visits": books.visit(form["customer"]).visits})
    cio.track("logged_in")
    return _signed_in(form["customer"])


def put_into_cart(request: Request) -> Response:
    """A sync view: Starlette runs it in a thread, and the event still knows its request."""
    sku, quantity = request.path_params["sku"], int(request.query_params["quantity"])
    books.put(request.user.identity, sku, quantity)
    cio.track("added_to_cart", {"sku": sku, "quantity": quantity})
    return Response(status_code=204)


async def order(request: Request) -> Response:
    """The events are on the function that does it, so they tell success from failure by themselves."""
    form = await request.json()
    placed = place_order(request.user.identity, form["order"], form["card"], form["deliver_on"])
    return JSONResponse({"total": str(placed.total)})


@cio.track_event("order_placed", attributes=lambda call: call.result)
@cio.track_event("payment_failed", when="failure", attributes=["order"])
def place_order(customer: str, order: str, card: str, deliver_on: str) -> Order:
    """Raises `CardDeclined`; the `Order` that it returns is what Customer.io gets."""
    return books.buy(customer, order, card, deliver_on)


async def log_out(request: Request) -> Response:
    """The last event of a visit."""
    cio.track("logged_out")
    sessions.pop(request.cookies["session"], None)
    return Response(status_code=204)


async def health(_: Request) -> Response:
    """No event: this shows what the middleware costs when there is nothing to do."""
    return PlainTextResponse("ok")


async def declined(_: Request, __: Exception) -> Response:
    """The bank said no."""
    return PlainTextResponse("card declined", 402)


def _signed_in(customer: str) -> Response:
    token = secrets.token_urlsafe()
    sessions[token] = customer
    response = PlainTextResponse(f"Hello, {customer}.")
    response.set_cookie("session", token, httponly=True)
    return response


app = Starlette(
    routes=[
        Route("/", home),
        Route("/products/{sku}", product),
        Route("/sign-up", sign_up, methods=["POST"]),
        Route("/log-in", log_in, methods=["POST"]),
        Route("/cart/{sku}", put_into_cart, methods=["POST"]),
        Route("/orders", order, methods=["POST"]),
        Route("/log-out", log_out, methods=["POST"]),
        Route("/health", health),
    ],
    middleware=[Middleware(CustomerIOMiddleware), Middleware(AuthenticationMiddleware, backend=SessionCookie())],
    exception_handlers={CardDeclined: declined},
)
