"""
What both shops sell, and how they take money. Nothing here knows of Customer.io.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

PRICES = {
    "rake": Decimal("18.50"),
    "spade": Decimal("24.00"),
    "seeds": Decimal("2.95"),
    "gloves": Decimal("7.25"),
    "hose": Decimal("31.40"),
    "lamp": Decimal("49.99"),
}


class CardDeclined(Exception):
    """The bank said no."""


@dataclass(frozen=True, slots=True)
class Order:
    """A paid order. Its fields are the attributes of the event `order_placed`."""

    order: str
    total: Decimal
    items: int
    deliver_on: dt.date


@dataclass(slots=True)
class Account:
    """A customer, as a shop remembers one."""

    email: str
    plan: str
    joined: dt.datetime
    visits: int = 0


class Books:
    """The accounts, baskets and orders of one shop, in memory."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.baskets: dict[str, dict[str, int]] = {}

    def sign_up(self, customer: str, email: str, plan: str, joined: str) -> Account:
        """Open an account; `joined` is an ISO date and time."""
        self.accounts[customer] = Account(email, plan, dt.datetime.fromisoformat(joined))
        return self.visit(customer)

    def visit(self, customer: str) -> Account:
        """Somebody with an account came back."""
        account = self.accounts[customer]
        account.visits += 1
        return account

    def put(self, customer: str, sku: str, quantity: int) -> None:
        """Put something into a basket."""
        basket = self.baskets.setdefault(customer, {})
        basket[sku] = basket.get(sku, 0) + quantity

    def buy(self, customer: str, order: str, card: str, deliver_on: str) -> Order:
        """
        Take the money for what is in the basket, and empty it.

        Raises:
            CardDeclined: the basket stays as it is.
        """
        basket = self.baskets.get(customer, {})
        if card == "declined":
            raise CardDeclined
        total = sum((PRICES[sku] * quantity for sku, quantity in basket.items()), Decimal(0))
        bought = Order(order, total, sum(basket.values()), dt.date.fromisoformat(deliver_on))
        basket.clear()
        return bought
