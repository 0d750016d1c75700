"""
Errors that leave without what they were about.

Who reports an exception with the variables of its frames, as error trackers do, would report the event and the person
that a verb was called with: its frames are emptied on the way out.
"""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from .exceptions import DeliveryError, InvalidEvent

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=Exception)

RAISED = (InvalidEvent, DeliveryError)
"""What a verb may raise: with `debug`, and with `on_error="raise"`."""


def bare(error: E) -> E:
    """The error without the frames that it came through. To be raised `from None`: an error before it has some too."""
    traceback.clear_frames(error.__traceback__)
    return error.with_traceback(None)


def discreet(verb: F) -> F:
    """A verb, sync or async, whose errors are bare."""

    @functools.wraps(verb)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return verb(*args, **kwargs)
        except RAISED as error:
            del args, kwargs
            raise bare(error) from None

    @functools.wraps(verb)
    async def acall(*args: Any, **kwargs: Any) -> Any:
        try:
            return await verb(*args, **kwargs)
        except RAISED as error:
            del args, kwargs
            raise bare(error) from None

    return acall if inspect.iscoroutinefunction(verb) else call  # type: ignore[return-value]  # of the same signature
