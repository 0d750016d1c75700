'''
A tracking plan as Python: each event a class, all of them a catalog that is checked at capture and compared in CI.

    class OrderPlaced(cio.EventType, name="order_placed"):
        """Somebody paid."""

        order_id: str
        total: float
        """Euros."""

    client.track(OrderPlaced(order_id="A-7", total=49.9), person="ada")
'''

from __future__ import annotations

from .checks import Catalog, Typed, check_catalog
from .plan import Change, changes, markdown, schema
from .types import EventType

__all__ = ["Catalog", "Change", "EventType", "Typed", "changes", "check_catalog", "markdown", "schema"]
