"""
The ends of a process that nobody announces: the interpreter's, and that of a child of `multiprocessing`.
"""

from __future__ import annotations

import atexit
import functools
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol


class Closable(Protocol):
    """Something to close before the process is gone."""

    def close(self, timeout: float) -> None:
        """Close it, in at most `timeout` seconds."""
        ...


def at_exit(part: Closable, timeout: float) -> Callable[[], None]:
    """
    Close `part` when the interpreter exits, if it still lives then. Returns how to undo this.

    To be called when `part` is made: Python ignores what is registered while it is exiting already.
    """
    hook = functools.partial(_close, weakref.ref(part), timeout)
    atexit.register(hook)
    weakref.finalize(part, atexit.unregister, hook).atexit = False
    return functools.partial(atexit.unregister, hook)


def at_child_exit(part: Closable, timeout: float) -> None:
    """The same for a child of `multiprocessing`, which ends without the interpreter's exit."""
    process: Any = sys.modules.get("multiprocessing.process")
    util: Any = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, part.close, args=(timeout,), exitpriority=100)


def is_exiting() -> bool:
    """Whether the interpreter is past the end of the main thread, where no thread can be started any more."""
    main = threading.main_thread()
    # Up to 3.12, is_alive() takes a lock, and marks a thread as ended for good if an exception falls in between.
    ended = getattr(main, "_is_stopped", None)
    return not main.is_alive() if ended is None else bool(ended)


def _close(part: weakref.ref[Any], timeout: float) -> None:
    if (living := part()) is not None:
        living.close(timeout)
