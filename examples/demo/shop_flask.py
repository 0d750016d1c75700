"""
The same shop on Flask. Two lines bring its events to Customer.io: the middleware, and `@track_event` on a view.

Who did it comes from the app's own session, by the function that the middleware is given.
"""

from __future__ import annotations

import secrets

from flask import Flask, Response, request, session

import cio_middleware as cio
from cio_middleware.wsgi import CustomerIOMiddleware

from .goods import PRICES, Books, CardDeclined, Order

app = Flask(__name__)
app.secret_key = secrets.token_bytes()
books = Books()


def signed_in(_: cio.RequestCell) -> str | None:
    """Who the request belongs to, as Customer.io knows them; None while nobody is signed in."""
    return session.get("customer")


app.wsgi_app = CustomerIOMiddleware(app.wsgi_app, person=signed_in)  # type: ignore[method-assign]


@app.get("/")
def home() -> str:
    """Nobody has to be signed in: the event goes to the browser's anonymous id, and to the person once they sign in."""
    cio.page(request.url)
    return "Spades, seeds, and what else a garden needs."


@app.get("/products/<sku>")
@cio.track_event("product_viewed", attributes=["sku"])
def product(sku: str) -> str:
    """A view that is an event: the decorator captures it when the view has returned."""
    return str(PRICES[sku])


@app.post("/sign-up")
def sign_up() -> str:
    """`form_sent` is captured before anybody is known, and waits in the request until `identify` says who it was."""
    form = request.get_json()
    cio.track("form_sent", {"form": "sign_up"})
    account = books.sign_up(form["customer"], form["email"], form["plan"], form["joined"])
    cio.identify(form["customer"], account)
    cio.track("signed_up", {"plan": account.plan})
    session["customer"] = form["customer"]
    return f"Hello, {form['customer']}."


@app.post("/log-in")
def log_in() -> str:
    """The same for somebody who comes back."""
    form = request.get_json()
    cio.track("form_sent", {"form": "log_in"})
    cio.identify(form["customer"], {"visits": books.visit(form["customer"]).visits})
    cio.track("logged_in")
    session["customer"] = form["customer"]
    return f"Hello, {form['customer']}."


@app.post("/cart/<sku>")
def put_into_cart(sku: str) -> Response:
    """The person comes from the session, by `signed_in` above."""
    quantity = int(request.args["quantity"])
    books.put(session["customer"], sku, quantity)
    cio.track("added_to_cart", {"sku": sku, "quantity": quantity})
    return Response(status=204)


@app.post("/orders")
def order() -> dict[str, str]:
    """The events are on the function that does it, so they tell success from failure by themselves."""
    form = request.get_json()
    placed = place_order(session["customer"], form["order"], form["card"], form["deliver_on"])
    return {"total": str(placed.total)}


@cio.track_event("order_placed", attributes=lambda call: call.result)
@cio.track_event("payment_failed", when="failure", attributes=["order"])
def place_order(customer: str, order: str, card: str, deliver_on: str) -> Order:
    """Raises `CardDeclined`; the `Order` that it returns is what Customer.io gets."""
    return books.buy(customer, order, card, deliver_on)


@app.post("/log-out")
def log_out() -> Response:
    """The last event of a visit."""
    cio.track("logged_out")
    session.clear()
    return Response(status=204)


@app.get("/health")
def health() -> str:
    """No event: this shows what the middleware costs when there is nothing to do."""
    return "ok"


@app.errorhandler(CardDeclined)
def declined(_: Exception) -> tuple[str, int]:
    """The bank said no."""
    return "card declined", 402
