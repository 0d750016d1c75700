"""
Every error of this package, in one tree. None carries a person, a payload or a key.

    CustomerIOError
    ├─ ConfigurationError (ValueError)       a setting is missing or wrong; the message says what to type
    ├─ InvalidEvent (ValueError)             Customer.io would refuse or misread this event
    │   └─ EventTooLarge                     the same, by size
    ├─ DeliveryError                         .event_ids .status .attempts
    │   ├─ TransientDeliveryError            retryable: the same bytes may succeed later
    │   │   ├─ RateLimited                   .retry_after
    │   │   ├─ ServerUnavailable
    │   │   └─ TransportFailure
    │   └─ PermanentDeliveryError            retrying the same bytes cannot help
    │       ├─ Unauthorized
    │       └─ Rejected
    ├─ QueueError
    │   ├─ QueueFull
    │   └─ QueueCorrupt
    └─ ClosedError (RuntimeError)
"""

from __future__ import annotations

from typing import ClassVar


class CustomerIOError(Exception):
    """The root: `except CustomerIOError` catches whatever this package raises."""


class ConfigurationError(CustomerIOError, ValueError):
    """A setting is missing or wrong. The message says what to type."""


class InvalidEvent(CustomerIOError, ValueError):
    """Customer.io would refuse or misread this event. Raised with `debug=True`; otherwise logged and counted."""


class EventTooLarge(InvalidEvent):
    """The event is larger than Customer.io takes."""


class DeliveryError(CustomerIOError):
    """Events could not be delivered. Raised by the direct backend with `on_error="raise"`."""

    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, event_ids: tuple[str, ...] = (), status: int | None = None, attempts: int = 0
    ) -> None:
        super().__init__(message)
        self.event_ids = event_ids
        self.status = status
        self.attempts = attempts

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process pools by pickle, which would otherwise forget the keyword arguments.
        return _rebuild, (type(self), str(self), self.__dict__.copy())


def _rebuild(kind: type[DeliveryError], message: str, state: dict[str, object]) -> DeliveryError:
    error = kind(message)
    error.__dict__.update(state)
    return error


class TransientDeliveryError(DeliveryError):
    """Retries are exhausted, but the same bytes may succeed later."""

    retryable: ClassVar[bool] = True


class RateLimited(TransientDeliveryError):
    """Customer.io answered 429. `retry_after` is in seconds; None when the answer did not say."""

    retry_after: float | None = None


class ServerUnavailable(TransientDeliveryError):
    """
    Customer.io answered 5xx, 408 or 425, or something else than JSON, as a proxy does.

    Also raised without asking it, `status` None, while deliveries have failed several times in a row.
    """


class TransportFailure(TransientDeliveryError):
    """No answer: the connection failed, broke or took too long."""


class PermanentDeliveryError(DeliveryError):
    """Retrying the same bytes cannot help."""


class Unauthorized(PermanentDeliveryError):
    """
    Refused by a setting of ours: the credentials (401, 403), or the address.

    The address is wrong when it answers 404, 405 or 407, or a redirect, which is followed only between Customer.io's
    own hosts: it would carry the key away.
    """


class Rejected(PermanentDeliveryError):
    """
    Customer.io refused the event itself: an error in its answer, 400, 413, or any 4xx that no other class names.
    """


class QueueError(CustomerIOError):
    """The queue could not take or give events. Nothing raises it so far: a full queue is logged and counted."""


class QueueFull(QueueError):
    """The queue is at its bound. Not raised so far."""


class QueueCorrupt(QueueError):
    """Stored events could not be read back. Not raised so far: no queue stores any."""


class ClosedError(CustomerIOError, RuntimeError):
    """The client was used after `close`."""
