"""
Product events from a Python web application into Customer.io.

    import cio_middleware as cio

    app.add_middleware(CustomerIOMiddleware)        # from cio_middleware.asgi, or .wsgi

    @cio.track_event("order_placed", attributes=["total"])
    def place_order(total): ...
"""

from __future__ import annotations

from ._calls import Call
from ._client import Client
from ._context import RequestCell, bound, current_request
from ._decorator import track_event
from ._default import configure, flush, get_client, identify, page, track
from ._events import Event, Identity
from ._semconv import VERSION as __version__  # noqa: N811 - the name that Python's tools look for
from ._settings import Settings
from ._stats import DropReason, Stats
from .catalog import Catalog, EventType
from .exceptions import (
    ClosedError,
    ConfigurationError,
    CustomerIOError,
    DeliveryError,
    EventTooLarge,
    InvalidEvent,
    PermanentDeliveryError,
    QueueCorrupt,
    QueueError,
    QueueFull,
    RateLimited,
    Rejected,
    ServerUnavailable,
    TransientDeliveryError,
    TransportFailure,
    Unauthorized,
)

__all__ = [
    "Call",
    "Catalog",
    "Client",
    "ClosedError",
    "ConfigurationError",
    "CustomerIOError",
    "DeliveryError",
    "DropReason",
    "Event",
    "EventTooLarge",
    "EventType",
    "Identity",
    "InvalidEvent",
    "PermanentDeliveryError",
    "QueueCorrupt",
    "QueueError",
    "QueueFull",
    "RateLimited",
    "Rejected",
    "RequestCell",
    "ServerUnavailable",
    "Settings",
    "Stats",
    "TransientDeliveryError",
    "TransportFailure",
    "Unauthorized",
    "__version__",
    "bound",
    "configure",
    "current_request",
    "flush",
    "get_client",
    "identify",
    "page",
    "track",
    "track_event",
]
