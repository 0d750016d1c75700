"""One tree of errors: what to catch, what may be retried, and what survives a process pool."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from cio_middleware import exceptions
from cio_middleware.exceptions import CustomerIOError, DeliveryError, TransientDeliveryError

PARENTS = {
    exceptions.ConfigurationError: (CustomerIOError, ValueError),
    exceptions.InvalidEvent: (CustomerIOError, ValueError),
    exceptions.EventTooLarge: (exceptions.InvalidEvent,),
    DeliveryError: (CustomerIOError,),
    TransientDeliveryError: (DeliveryError,),
    exceptions.RateLimited: (TransientDeliveryError,),
    exceptions.ServerUnavailable: (TransientDeliveryError,),
    exceptions.TransportFailure: (TransientDeliveryError,),
    exceptions.PermanentDeliveryError: (DeliveryError,),
    exceptions.Unauthorized: (exceptions.PermanentDeliveryError,),
    exceptions.Rejected: (exceptions.PermanentDeliveryError,),
    exceptions.QueueError: (CustomerIOError,),
    exceptions.QueueFull: (exceptions.QueueError,),
    exceptions.QueueCorrupt: (exceptions.QueueError,),
    exceptions.ClosedError: (CustomerIOError, RuntimeError),
}


def pickled(error: Exception) -> Any:
    """Send an error through a pickle, as a process pool does."""
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes


def test_the_tree_is_as_drawn():
    """Every error of the module is in the table, below the parents that the docstring draws."""
    found = {kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, Exception)}
    assert found == {*PARENTS, CustomerIOError}
    assert {kind: kind.__bases__ for kind in PARENTS} == PARENTS
    assert all(kind.__name__ in (exceptions.__doc__ or "") for kind in found)


@pytest.mark.parametrize("kind", [kind for kind in PARENTS if issubclass(kind, DeliveryError)])
def test_an_error_of_delivery_says_whether_the_same_bytes_may_succeed(kind):
    """Transient errors are retryable, all others are not."""
    assert kind.retryable is issubclass(kind, TransientDeliveryError)


@pytest.mark.parametrize("kind", [kind for kind in PARENTS if issubclass(kind, DeliveryError)])
@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
def test_an_error_of_delivery_survives_a_process_pool(kind, again):
    """Ids, status and attempts arrive on the other side, and so does what a subclass adds."""
    error = kind("refused", event_ids=("01",), status=400, attempts=3)
    error.retry_after = 7.5
    error.add_note("noted")

    other = again(error)

    assert type(other) is kind
    assert str(other) == "refused"
    assert (other.event_ids, other.status, other.attempts) == (("01",), 400, 3)
    assert (other.retry_after, other.__notes__) == (7.5, ["noted"])


def test_what_is_not_known_has_a_default():
    """An error can be made of its message alone."""
    error = exceptions.RateLimited("slow down")
    assert (error.event_ids, error.status, error.attempts, error.retry_after) == ((), None, 0, None)
