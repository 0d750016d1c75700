"""
The ledger of a workspace: its rows, its requests and what was counted of them; what Clear takes away, and Undo brings.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from cio_middleware.sandbox.ring import Ring
from cio_middleware.sandbox.series import Tally
from cio_middleware.sandbox.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cio_middleware.sandbox.rows import EventRow, RequestRow

NAME_CHARS = 500
"""Characters of a name by which the counters tell names apart."""

OTHER_NAMES = "(other names)"
"""Where the counters put a name that is new when there are too many."""


class Rows:
    """
    The newest rows, by number.

    Args:
        count: Rows at most; None means as many as weigh `weight`.
        weight: Their summed weight at most, in bytes; None means as much as `count` rows weigh. The newest row
            always stays.
    """

    def __init__(self, count: int | None, weight: int | None) -> None:
        self._count = count
        self._limit = weight
        self._rows: OrderedDict[int, tuple[EventRow, int]] = OrderedDict()
        self._weight = 0
        self.evicted = 0

    def append(self, row: EventRow, weight: int) -> None:
        """Add the newest row and let go of the oldest ones that no longer fit."""
        self._rows[row.seq] = (row, weight)
        self._weight += weight
        while len(self._rows) > 1 and self._overfull():
            self._weight -= self._rows.popitem(last=False)[1][1]
            self.evicted += 1

    def _overfull(self) -> bool:
        too_many = self._count is not None and len(self._rows) > self._count
        return too_many or (self._limit is not None and self._weight > self._limit)

    def get(self, seq: int) -> EventRow | None:
        """Return the row with this number, if it is here."""
        found = self._rows.get(seq)
        return found and found[0]

    def put(self, row: EventRow) -> None:
        """Put a row in the place of the one with its number; do nothing when that is gone."""
        if row.seq in self._rows:
            self._rows[row.seq] = (row, self._rows[row.seq][1])

    def take(self, seq: int) -> EventRow | None:
        """Remove a row and return it; None when it is not here."""
        row, weight = self._rows.pop(seq, (None, 0))
        self._weight -= weight
        return row

    def weighed(self) -> list[tuple[EventRow, int]]:
        """Return all rows with their weights, oldest first."""
        return list(self._rows.values())

    def newest_first(self) -> Iterator[EventRow]:
        """Iterate backwards, so that a reader of the newest few never walks the whole history."""
        return (row for row, _ in reversed(self._rows.values()))

    def after(self, seq: int) -> list[EventRow]:
        """Return the rows after this number, oldest first."""
        fresh: list[EventRow] = []
        for row in self.newest_first():
            if row.seq <= seq:
                break
            fresh.append(row)
        return fresh[::-1]

    def __iter__(self) -> Iterator[EventRow]:
        return (row for row, _ in self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)


class Ledger:
    """
    Rows, requests and counters.

    Args:
        count: Rows at most, and as many requests.
        weight: Bytes of them at most.
        names: Names that have counters of their own.
        strict: Warnings make an event bad.
    """

    def __init__(self, count: int | None, weight: int | None, names: int, *, strict: bool = False) -> None:
        self._bounds = (count, weight)
        self._strict = strict
        self._names = names
        self.rows = Rows(count, weight)
        self.requests: Ring[RequestRow] = Ring(count, weight)
        self.verdicts: Counter[str] = Counter()
        self.names: dict[str, Counter[str]] = {}
        self.requested = 0
        self.never_sent = 0
        """Events that the client gave up by mistake: bad news that no verdict tells from a choice."""
        self.tally = Tally()

    def add(self, row: EventRow, weight: int) -> None:
        """Keep a row and count it; the rows that it replaces leave the lists and the counters."""
        for seq in row.replaces:
            self.drop(seq)
        self.rows.append(row, weight)
        self._count(row, 1)

    def drop(self, seq: int) -> None:
        """Take a row back as if it had never come; one that was evicted stays counted."""
        row = self.rows.take(seq)
        if row is not None:
            self._count(row, -1)

    def request(self, row: RequestRow) -> None:
        """Keep a request and count it."""
        self.requests.append(row, row.weight)
        self.requested += 1
        self.tally.receive(row.received_at, row.size)

    def _count(self, row: EventRow, by: int) -> None:
        self.verdicts[row.verdict] += by
        counter = self._counter(row.name or row.kind)
        counter[row.verdict] += by
        if not counter[row.verdict]:
            del counter[row.verdict]
        if row.verdict is Verdict.NEVER_SENT and row.good is False:
            self.never_sent += by
        self.tally.count(row.received_at, row.verdict, by)

    def _counter(self, name: str) -> Counter[str]:
        name = name[:NAME_CHARS]
        if name not in self.names and len(self.names) >= self._names:
            name = OTHER_NAMES
        return self.names.setdefault(name, Counter())

    def split(self, before: int) -> Ledger:
        """Move the rows before a number into a ledger of their own with what was counted of them."""
        away = Ledger(*self._bounds, self._names, strict=self._strict)
        for row, weight in self.rows.weighed():
            if row.seq >= before:
                break
            self.drop(row.seq)
            away.add(row, weight)
        return away

    def rejoin(self, older: Ledger) -> int:
        """Put back what was taken away, except rows that were replaced meanwhile; return how many those were."""
        for seq in {seq for row in self.rows for seq in row.replaces}:
            older.drop(seq)
        rows, requests = self.rows.weighed(), list(self.requests)
        self.rows.evicted += older.rows.evicted
        fresh = Rows(*self._bounds)
        fresh.evicted = self.rows.evicted
        for row, weight in sorted([*older.rows.weighed(), *rows], key=_number):
            fresh.append(row, weight)
        self.rows = fresh
        older_requests = older.requests
        evicted = self.requests.evicted + older_requests.evicted
        self.requests = _joined(older_requests, requests, self._bounds, evicted)
        self.requested += older.requested
        self.never_sent += older.never_sent
        self.verdicts.update(older.verdicts)
        for name, counts in older.names.items():
            self._counter(name).update(counts)
        self.tally.add(older.tally)
        return len(older.rows)

    def counts(self) -> dict[str, object]:
        """Return the counters; they count everything since the last reset or clear, evicted rows too."""
        return {
            "total": self.verdicts.total(),
            "good": self._sum(good=True),
            "bad": self._sum(good=False) + self.never_sent,
            "by_verdict": {str(verdict): self.verdicts[verdict] for verdict in Verdict},
            "by_name": {name: dict(counts) for name, counts in self.names.items() if counts},
            "requests": self.requested,
            "kept": len(self.rows),
            "evicted": self.rows.evicted,
        }

    def _sum(self, *, good: bool) -> int:
        return sum(self.verdicts[verdict] for verdict in Verdict if verdict.judged(strict=self._strict) is good)


def _number(weighed: tuple[EventRow, int]) -> int:
    return weighed[0].seq


def _joined(
    older: Ring[RequestRow], newer: Iterable[RequestRow], bounds: tuple[int | None, int | None], evicted: int
) -> Ring[RequestRow]:
    joined: Ring[RequestRow] = Ring(*bounds)
    joined.evicted = evicted
    for row in (*older, *newer):
        joined.append(row, row.weight)
    return joined
