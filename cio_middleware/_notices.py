"""
Say a thing once per change of state, however many events it befalls.

A log line per event would turn an outage of Customer.io into an outage of the log. Here a topic has a state: a line is
written when the state changes, and a topic that stays in trouble is repeated every ten minutes with the count since.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ._ids import Clock, SystemClock

LOGGER = logging.getLogger("cio_middleware")
REPEAT_AFTER = 600.0
MAX_TOPICS = 100
MAX_LINES = 10
"""Lines of one topic within `REPEAT_AFTER`, for a state that is made of changing text."""
_THE_REST = "everything else"


@dataclass(slots=True)
class _Topic:
    minute: float
    state: str = ""
    said_at: float = -math.inf
    lines: int = 0
    unsaid: int = 0


class Notices:
    """The log of one client. Messages hold ids of events, sizes and statuses, never a person or a payload."""

    def __init__(self, clock: Clock | None = None, logger: logging.Logger = LOGGER) -> None:
        self._clock = clock or SystemClock()
        self._logger = logger
        self._topics: dict[str, _Topic] = {}
        self._lock = threading.RLock()

    def after_fork(self) -> None:
        """A child's lock must not be one that its parent held."""
        self._lock = threading.RLock()

    def trouble(self, topic: str, state: str, message: str, *args: object, level: int = logging.WARNING) -> None:
        """Something is wrong with `topic`, in the way that `state` names."""
        now = self._clock.monotonic()
        with self._lock:
            known = self._topics.get(topic)
            if known is None:
                if len(self._topics) >= MAX_TOPICS and not self._make_room(now):
                    topic = state = _THE_REST
                    message, args = "more kinds of trouble than the log can take", ()
                known = self._topics.setdefault(topic, _Topic(now))
            if now - known.minute >= REPEAT_AFTER:
                known.minute, known.lines = now, 0
            same = known.state == state and now - known.said_at < REPEAT_AFTER
            if same or known.lines >= MAX_LINES:
                known.unsaid += 1
                return
            again, known.unsaid = known.unsaid, 0
            known.state, known.said_at, known.lines = state, now, known.lines + 1
        if again:
            message += " (%d more since the last line)"
            args = (*args, again)
        self._write(level, message, *args)

    def fine(self, topic: str, message: str, *args: object) -> None:
        """`topic` is well again; says so only if it was not."""
        # Read without the lock: this runs on the way of every success, and a topic in trouble is rare.
        if topic not in self._topics:
            return
        with self._lock:
            known = self._topics.pop(topic, None)
        if known is not None:
            # As loud as the trouble was, or whoever saw that would not see this.
            self._write(logging.WARNING, message, *args)

    def _write(self, level: int, message: str, *args: object) -> None:
        # A filter of the application's may raise, in whatever thread; that is no reason to lose an event or a thread.
        with contextlib.suppress(Exception):
            self._logger.log(level, message, *args)

    def _make_room(self, now: float) -> bool:
        """Forget topics that were last in trouble long ago; a topic made of changing text must not fill the memory."""
        old = [topic for topic, known in self._topics.items() if now - known.said_at >= REPEAT_AFTER]
        for topic in old:
            del self._topics[topic]
        return bool(old)


class Unsaid:
    """
    Lines that wait until whoever has them to say holds no lock.

    A handler of the application's log may wait for a thread that waits for that lock.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._lines: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._lines)

    def trouble(self, topic: str, state: str, message: str, *args: object, level: int = logging.WARNING) -> None:
        """Something is wrong: what `Notices.trouble` is told when it is time."""
        self._lines.append(partial(self._notices.trouble, topic, state, message, *args, level=level))

    def fine(self, topic: str, message: str) -> None:
        """Say at once that `topic` is well again, if it was not."""
        self._notices.fine(topic, message)

    def speak(self) -> None:
        """Say it."""
        while self._lines:
            try:
                say = self._lines.popleft()
            except IndexError:
                return  # another thread says it
            say()
