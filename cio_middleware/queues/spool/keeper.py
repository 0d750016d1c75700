"""
A thread that looks after the spool every 200 ms, so that no request has to.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

from ..._ids import Clock

TICK_SECONDS = 0.2


class Keeper:
    """Calls `tick` again and again until it is stopped, in a daemon thread that the first event starts."""

    def __init__(self, tick: Callable[[], None], clock: Clock) -> None:
        self._tick = tick
        self._clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """The thread stayed with the parent."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.ident: int | None = None
        """The thread that looks after the spool: others may wait for it at any time, so it waits for no writer."""

    def start(self) -> None:
        """Start the thread, if it does not run; where there can be none, the queue does without."""
        if self._thread is not None or self._stopped:
            return
        run = contextvars.Context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="cio_middleware spool", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None

    def stop(self, timeout: float) -> None:
        """Stop the thread, and wait for it as long as that."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        self.ident = threading.get_ident()
        try:
            while True:
                with self._changed:
                    until = self._clock.monotonic() + TICK_SECONDS
                    while not self._stopped and (left := until - self._clock.monotonic()) > 0:
                        self._clock.wait(self._changed, left)
                    if self._stopped:
                        return
                self._tick()
        finally:
            self.ident = None  # another thread may have the same one later
