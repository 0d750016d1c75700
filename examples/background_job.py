"""
Events of a job, outside any request: `bound` says once who and what they are about.

    python examples/background_job.py
"""

from __future__ import annotations

from decimal import Decimal

import cio_middleware as cio
from cio_middleware.testing import Sandbox


def renew(customer: str, price: Decimal) -> None:
    """A renewal knows its customer and its campaign by `bound`, not by an argument that each function hands on."""
    with cio.bound({"campaign": "spring"}, person=customer):
        cio.track("renewal_started", {"price": price})
        charge(price)


@cio.track_event("renewal_paid", attributes=["price"])
def charge(price: Decimal) -> str:
    """Takes the money; that it returned is the event."""
    return f"paid {price}"


def main() -> None:
    """Renew twice, and show what Customer.io got."""
    with Sandbox.running() as sandbox, cio.configure(**sandbox.settings) as client:
        renew("ada", Decimal("19.90"))
        renew("alan", Decimal("29.90"))
        client.flush()
        for event in sandbox.events():
            print(event.person, event.name, event.data["campaign"], event.data["price"])


if __name__ == "__main__":
    main()
