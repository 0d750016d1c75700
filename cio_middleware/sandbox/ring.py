"""
Bounded histories: the newest items, within a count and a weight, and how many older ones had to go.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Iterator

T = TypeVar("T")
K = TypeVar("K")


def trim(mapping: OrderedDict[K, T], count: int) -> None:
    """Let go of the oldest entries until so many are left."""
    while len(mapping) > count:
        mapping.popitem(last=False)


class Latest(Generic[T]):
    """The newest `count` values that were added, to ask whether one is among them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._order: deque[T] = deque()
        self._values: set[T] = set()

    def add(self, value: T) -> None:
        """Remember a value, and forget the oldest when there are too many; one that is known keeps its place."""
        if value in self._values:
            return
        self._order.append(value)
        self._values.add(value)
        if len(self._order) > self._count:
            self._values.discard(self._order.popleft())

    def __contains__(self, value: object) -> bool:
        return value in self._values


class Ring(Generic[T]):
    """
    Keep the newest items.

    Args:
        count: Items at most; None means as many as weigh `weight`.
        weight: Their summed weight at most, in bytes; None means as much as `count` items weigh. The newest
            item always stays.
    """

    def __init__(self, count: int | None, weight: int | None) -> None:
        self._count = count
        self._limit = weight
        self._items: deque[tuple[T, int]] = deque()
        self._weight = 0
        self.evicted = 0

    def append(self, item: T, weight: int) -> None:
        """Add the newest item and let go of the oldest ones that no longer fit."""
        self._items.append((item, weight))
        self._weight += weight
        while len(self._items) > 1 and self._overfull():
            self._weight -= self._items.popleft()[1]
            self.evicted += 1

    def _overfull(self) -> bool:
        too_many = self._count is not None and len(self._items) > self._count
        return too_many or (self._limit is not None and self._weight > self._limit)

    def clear(self) -> None:
        """Forget everything, also what was evicted."""
        self._items.clear()
        self._weight = 0
        self.evicted = 0

    def newest_first(self) -> Iterator[T]:
        """Iterate backwards, so that a reader of the newest few never walks the whole history."""
        return (item for item, _ in reversed(self._items))

    def __iter__(self) -> Iterator[T]:
        return (item for item, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)
