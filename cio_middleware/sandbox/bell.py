"""
A bell that wakes everybody who waits, so that nobody polls.

It belongs to no event loop until someone waits, which lets the same state outlive a server that is stopped
and started again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Bell:
    """Ring it from the event loop's thread after each change; waiters look again."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self.also: Callable[[], None] | None = None

    @property
    def awaited(self) -> bool:
        """True while somebody waits."""
        return bool(self._waiters)

    def ring(self) -> None:
        """Wake everyone who waits now, after `also`, which is told of each change first."""
        if self.also is not None:
            self.also()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def heard(self, within: float) -> bool:
        """
        Wait for the next ring.

        Args:
            within: Seconds to wait; 0 or less returns at once.

        Returns:
            True when it rang, False when the time ran out.
        """
        if within <= 0:
            return False
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(within):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True
