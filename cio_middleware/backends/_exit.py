"""
The ends of a process: those that a server announces, and those that nobody does.

The latter are the interpreter's, and that of a child of `multiprocessing`. All of them together take no longer than one
`shutdown_timeout`.
"""

from __future__ import annotations

import atexit
import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .._ids import Clock

T = TypeVar("T")

_ATTEMPT = 0.1
_LIVED_ON = 60.0


class Shutdown:
    """
    The time that the steps of one shutdown share.

    The steps are the end of an ASGI lifespan, `close()`, perhaps in a server's exit hook, and the interpreter's exit.
    What counts is the time that they took, not the time since the first: a process that goes on after a lifespan, as a
    test does, is owed all of it at its end.
    """

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._spent = 0.0
        self._stepped_at = 0.0

    @contextmanager
    def step(self) -> Iterator[float]:
        """
        One step. Gives the seconds that it may take: what the ones before have left.

        That is never less than one attempt takes where nothing hangs: something may have been captured in between.
        """
        started = self._clock.monotonic()
        if started - self._stepped_at > _LIVED_ON:
            # No supervisor waits that long between two steps: the process has lived on.
            self._spent = 0.0
        try:
            yield max(self._timeout - self._spent, min(self._timeout, _ATTEMPT))
        finally:
            self._stepped_at = self._clock.monotonic()
            self._spent += self._stepped_at - started

    def call_off(self) -> None:
        """Forget what was spent: the process starts to serve, again."""
        self._spent = 0.0

    def after_fork(self) -> None:
        """A child ends by itself, whatever its parent was about to do."""
        self._spent = 0.0


def at_exit(part: T, end: Callable[[T], object]) -> Callable[[], None]:
    """
    Call `end` with `part` when the interpreter exits, if it still lives then. Returns how to undo this.

    To be called when `part` is made: Python ignores what is registered while it is exiting already.
    """
    hook = functools.partial(_end, weakref.ref(part), end)
    atexit.register(hook)
    weakref.finalize(part, atexit.unregister, hook).atexit = False
    return functools.partial(atexit.unregister, hook)


def at_child_exit(end: Callable[[], object]) -> None:
    """Call `end` at the exit of a child of `multiprocessing`, which ends without the interpreter's."""
    process: Any = sys.modules.get("multiprocessing.process")
    util: Any = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, end, exitpriority=100)


def is_exiting() -> bool:
    """Whether the interpreter is past the end of the main thread, where no thread can be started any more."""
    main = threading.main_thread()
    # Up to 3.12, is_alive() takes a lock, and marks a thread as ended for good if an exception falls in between.
    ended = getattr(main, "_is_stopped", None)
    return not main.is_alive() if ended is None else bool(ended)


def _end(part: weakref.ref[T], end: Callable[[T], object]) -> None:
    if (living := part()) is not None:
        end(living)
