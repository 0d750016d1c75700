"""
Dead letters as an application sees them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import msgspec

from ._events import Envelope, Receipt
from ._ids import Clock
from ._stats import Ledger
from .queues.purges import Purge, Purges
from .typing import DeadLetter, KeptLetters


class DeadLetters(Collection[DeadLetter]):
    """
    The events that Customer.io refused, oldest first, each with its reason.

    In memory there are as many as fit its bounds, on a spool all that its processes have had. Looked at anew at each
    use. Wherever `event_ids` are taken, None means all.
    """

    def __init__(
        self, kept: KeptLetters | None, emit: Callable[[Envelope, bytes], Receipt], ledger: Ledger, clock: Clock
    ) -> None:
        self._kept = kept
        self._emit = emit
        self._ledger = ledger
        self._clock = clock

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(()) if self._kept is None else iter(self._kept)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, letter: object) -> bool:
        return any(each == letter for each in self)

    def __repr__(self) -> str:
        return f"DeadLetters({len(self)})"

    def export(self, path: str | Path, event_ids: Collection[str] | None = None) -> int:
        """
        Write letters to a new file, as a line of JSON each. It holds personal data, and is readable by its user alone.

        Returns:
            How many.

        Raises:
            FileExistsError: there is such a file already.
            OSError: it cannot be written.
        """
        count = 0
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for letter in self._chosen(event_ids):
                file.write(msgspec.json.encode(_row(letter)) + b"\n")
                count += 1
        return count

    def replay(self, event_ids: Collection[str] | None = None) -> int:
        """
        Send letters once more, as they were and with their ids; what is refused again is a dead letter again.

        The first one that cannot be taken, because the queue is full or the client closed, ends it.

        Returns:
            How many are on their way.

        Raises:
            OSError: they are on their way, and could not be removed from the disk.
        """
        taken, until = [], self._clock.time()
        for letter in list(self._chosen(event_ids)):
            self._ledger.replay()
            receipt = self._emit(letter.envelope, letter.item)
            if receipt.reason is not None:
                if not receipt.settled:
                    self._ledger.drop(receipt.reason)
                break
            taken.append(letter.envelope.event_id)
        if self._kept is not None and taken:
            # Only now: a process that dies in between sends an event twice, and loses none.
            self._kept.remove(frozenset(taken), until=until)
        return len(taken)

    def drop(self, event_ids: Collection[str] | None = None) -> int:
        """
        Forget letters for good.

        Returns:
            How many.

        Raises:
            OSError: the disk does not allow it.
        """
        return 0 if self._kept is None else self._kept.remove(_ids(event_ids))

    def of(self, who: bytes) -> list[str]:
        """The ids of those about whom these identifiers name, as the wire has them."""
        purges = Purges()
        purges.add(Purge.of(who, self._clock.time()))
        return [letter.envelope.event_id for letter in self if purges.covers((letter.envelope, letter.item))]

    def _chosen(self, event_ids: Collection[str] | None) -> Iterator[DeadLetter]:
        ids = _ids(event_ids)
        return (letter for letter in self if ids is None or letter.envelope.event_id in ids)


def _ids(event_ids: Collection[str] | None) -> frozenset[str] | None:
    """A single id is meant as one, not as its letters."""
    if event_ids is None:
        return None
    return frozenset({event_ids} if isinstance(event_ids, str) else event_ids)


def _row(letter: DeadLetter) -> dict[str, object]:
    envelope, why = letter.envelope, letter.why
    return {
        "event_id": envelope.event_id,
        "kind": envelope.kind,
        "captured_at": envelope.captured_at,
        "refused_at": letter.refused_at,
        "reason": why.reason,
        "field": why.field,
        "message": why.message,
        "item": msgspec.Raw(letter.item),
    }
