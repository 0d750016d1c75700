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
        # Held by this lock's own `with`: see the backend's `Bell`.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._is_woken = self._stopped = False
        self._last: Callable[[], None] | None = None
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

    def wake(self) -> None:
        """Have the next tick now."""
        with self._lock:
            self._is_woken = True
            self._changed.notify_all()

    def stop(self, timeout: float, last: Callable[[], None] | None = None) -> None:
        """
        Stop the thread, which does this at its end, and wait for it as long as that.

        Where no thread runs it is done here: there is nobody else.
        """
        with self._lock:
            self._stopped = True
            self._last = last or self._last
            self._changed.notify_all()
        thread = self._thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            self._end()
        else:
            thread.join(timeout)

    def _run(self) -> None:
        self.ident = threading.get_ident()
        try:
            while self._wait():
                self._tick()
            self._end()
        finally:
            self.ident = None  # another thread may have the same one later

    def _wait(self) -> bool:
        """Wait for the next tick; False when there is none any more."""
        with self._lock:
            until = self._clock.monotonic() + TICK_SECONDS
            while not self._stopped and not self._is_woken and (left := until - self._clock.monotonic()) > 0:
                self._clock.wait(self._changed, left)
            self._is_woken = False
            return not self._stopped

    def _end(self) -> None:
        with self._lock:
            last, self._last = self._last, None
        if last is not None:
            last()
