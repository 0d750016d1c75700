"""
Follow a bounded history, and say what came and what went since the last look, without walking all of it.
"""

from __future__ import annotations

from itertools import islice, takewhile
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

K = TypeVar("K")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Kept(Protocol[T_co]):
    """A history as `ring.Ring` and `ledger.Rows` keep it."""

    def newest_first(self) -> Iterator[T_co]:
        """Iterate backwards."""
        ...

    def __iter__(self) -> Iterator[T_co]: ...

    def __len__(self) -> int: ...


class Shadow(Generic[K, T]):
    """
    What a history was at the last look; it holds frozen items, so one that changed is another one.

    Args:
        key: By what an item is known.
    """

    def __init__(self, key: Callable[[T], K]) -> None:
        self._key = key
        self._items: dict[K, T] = {}

    def follow(
        self, kept: Kept[T], changed: Iterable[T] = (), replaces: Callable[[T], Sequence[K]] = lambda _: ()
    ) -> tuple[list[T], list[K]]:
        """
        Return the items that are new or changed, and the keys of those that are gone.

        Args:
            kept: The history now.
            changed: Items that are known to be others than they were.
            replaces: Which older ones went when an item came.
        """
        fresh = list(takewhile(lambda item: self._items.get(self._key(item)) is not item, kept.newest_first()))[::-1]
        came = {self._key(item): item for item in (*changed, *fresh)}
        gone = [key for item in fresh for key in replaces(item) if self._items.pop(key, None) is not None]
        self._items |= came
        for key in list(islice(self._items, max(len(self._items) - len(kept), 0))):  # the oldest goes first
            gone += [key] if self._items.pop(key) else []
        if not self._ends_as(kept):
            return self._anew(kept, came, gone)
        return list(came.values()), gone

    def _ends_as(self, kept: Kept[T]) -> bool:
        ends = (next(iter(kept), None), next(kept.newest_first(), None))
        mine = (next(iter(self._items.values()), None), next(reversed(self._items.values()), None))
        return len(self._items) == len(kept) and ends[0] is mine[0] and ends[1] is mine[1]

    def _anew(self, kept: Kept[T], came: dict[K, T], gone: list[K]) -> tuple[list[T], list[K]]:
        """Compare all: what had been cleared came back, or the like."""
        now = {self._key(item): item for item in kept}
        came |= {key: item for key, item in now.items() if self._items.get(key) is not item}
        lost = [key for key in (*gone, *self._items) if key not in now]
        self._items = now
        return [item for key, item in came.items() if key in now], lost
