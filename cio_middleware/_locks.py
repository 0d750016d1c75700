"""
Ask who holds a lock.

A signal handler or a finalizer may capture an event in the middle of anything that its thread does, with whatever locks
that thread holds. What it wants may be held by a thread that waits for one of those; so it asks before it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


def owned(lock: threading.RLock) -> Callable[[], bool]:
    """Tells whether the thread that asks holds the lock, as a Condition asks it."""
    ask: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way to ask
    return ask
