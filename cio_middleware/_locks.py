"""
Ask who holds a lock.

A signal handler or a finalizer may capture an event in the middle of anything that its thread does, with whatever locks
that thread holds. What it wants may be held by a thread that waits for one of those; so it asks before it waits.

Who holds one of these may wait for those behind it, for as long as is said. "In a handler" is what a signal handler in
its middle may wait for besides, since it may flush and close wherever it comes.

    put's (the queue's in memory, the inlet's)   the disk; in a handler the bell's, the keeper's
    bell's (backend)                             a thread that starts; never put's: the event is taken aside
    reader's (spool)                             put's for 50 ms, the letters' for 2 s, a segment's, the disk; never the
                                                 bell's, if there is a worker
    keeper's                                     nothing; its thread never waits for put's: its events are taken aside
    a segment's, the log's (making, syncing)     the disk; a put waits 1 s for them
    the letters', and their flock                the disk
    the ledger's, the notices'                   nothing; no line is logged under any of these
"""

from __future__ import annotations

import threading
from collections.abc import Callable


def owned(lock: threading.RLock) -> Callable[[], bool]:
    """Tells whether the thread that asks holds the lock, as a Condition asks it."""
    ask: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way to ask
    return ask
