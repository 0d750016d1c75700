"""
Tell live objects that they now live in a forked child.

A child inherits copies of its parent's queued events, locks in any state, and sockets that both would write to.
Whatever owns one of these registers here and starts afresh before the child runs a line of its own.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that must be made new in a forked child."""

    def after_fork(self) -> None:
        """Start afresh. Runs in the child, in its only thread; must take no lock that it did not just make."""
        ...


class ForkWatch:
    """The live `Forkable` objects, told oldest first so that parts are new before what is built on them."""

    def __init__(self) -> None:
        self._watched: list[weakref.ref[Forkable]] = []
        self._registered = False
        self._making = threading.RLock()
        self.pid = os.getpid()

    def add(self, forkable: Forkable) -> None:
        """Watch it for as long as it lives."""
        self._register()
        with self._making:
            self._watched = [ref for ref in self._watched if ref() is not None]
            self._watched.append(weakref.ref(forkable))

    def one_at_a_time(self) -> threading.RLock:
        """
        To be held while something is made that must not be made twice, or that imports much: a fork waits for it.

        In the child an import would stay half done, with nobody to finish it, and whoever imports the same would wait
        for ever. One lock for all of it, since a fork that waits for two could wait for each other's holders.
        """
        self._register()
        return self._making

    def in_child(self) -> None:
        """Tell every watched object, once per process; also called where a fork went past Python's hook (uWSGI)."""
        if self.pid == os.getpid():
            return
        self.pid = os.getpid()
        for ref in self._watched:
            if (forkable := ref()) is not None:
                forkable.after_fork()

    def _register(self) -> None:
        if self._registered:
            return
        self._registered = True
        self.pid = os.getpid()
        os.register_at_fork(
            before=self._making.acquire, after_in_parent=self._making.release, after_in_child=self._after
        )

    def _after(self) -> None:
        self._making.release()
        self.in_child()


WATCH = ForkWatch()
