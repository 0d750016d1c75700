"""What may come in between: the garbage collector, or a signal handler, in the very thread that a queue works in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, ModuleType

import pytest

from cio_middleware.queues import memory, window


class Interruption:
    """Calls something once, at a point inside of some modules where Python looks for what else there is to run."""

    def __init__(self, at: int, what: Callable[[], object], inside: Sequence[ModuleType]) -> None:
        self._at = at
        self._what = what
        self._inside = {module.__file__ for module in inside}
        self.points = 0

    def __call__(self, frame: FrameType, event: str, about: object) -> None:
        """A profiler is told of each call and each return, and these are those points."""
        del event, about
        if frame.f_code.co_filename in self._inside:
            self.points += 1
            if self.points == self._at:
                self._what()


@pytest.fixture(name="interrupted")
def _interrupted() -> Callable[..., AbstractContextManager[Interruption]]:
    """While a context lasts, the call that it is given comes at its point number `at`. Gives what counts the points."""

    @contextmanager
    def interrupted(
        at: int, what: Callable[[], object], inside: Sequence[ModuleType] = (memory, window)
    ) -> Iterator[Interruption]:
        interruption = Interruption(at, what, inside)
        before = sys.getprofile()
        sys.setprofile(interruption)
        try:
            yield interruption
        finally:
            sys.setprofile(before)

    return interrupted
