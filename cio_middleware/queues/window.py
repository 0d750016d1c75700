"""
Decide which of the waiting events may leave next, without holding a lock, a clock or a thread.

Three rules, and each is a sentence of the model in ``tests/unit/queues/test_window.py``:

- **Order.** The events of one lane are never on two leases at once. What is put behind a lane that is out stays behind
  it, also when the lease comes back.
- **Barrier.** A lease that holds an event of all lanes is alone: it begins when all that was put before is settled or
  on this very lease, and nothing else leaves until it is settled. Within a lease the order is that of put anyway.
- **Reach.** At most `limit` leases hold an event at or past `head`, the first one that is not settled. So who commits
  what is settled by `head`, as a file does, repeats at most that many batches after a kill. An event that its lane
  holds back counts as well: it keeps `head` where it is. This can never stand still: the event at `head` is either out,
  or its lane is free and fewer than `limit` leases reach past it.

Its owner calls it under a lock. All of it is short, `lease` included, however much waits: what a lease passes over is
put aside once, by lane, and not looked at again until that lane is free.

That lock keeps other threads out, not the thread that holds it: in the middle of any method, what the garbage
collector ends there, or a signal handler, may capture an event. `add` is right at any time; for `evict` see `at_work`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import wraps
from heapq import heappop, heappush, heapreplace
from typing import Concatenate, ParamSpec, TypeVar

import msgspec

from .._events import ALL_LANES, Envelope, Route
from ..typing import Front, Lease
from ..wire import track

P = ParamSpec("P")
R = TypeVar("R")

_MOST_LOOKS = 2000
"""How many events one lease may pass over: whoever puts an event meanwhile waits for it."""


class Waiting(msgspec.Struct, gc=False):
    """
    One event, and when it was put, on the monotonic clock. A queue that must know more of it makes a subclass.

    Out of the garbage collector's sight: it would walk a full queue again and again, in the middle of requests.
    """

    at: float
    envelope: Envelope
    item: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.envelope.event_id})"


Placed = tuple[int, Waiting]
"""The same with its place in the order of puts, which an event that was never looked at has by its position."""


class _Line:
    """The events of one lane that were passed over, oldest first."""

    __slots__ = ("_events", "_first")

    def __init__(self) -> None:
        self._events: list[Placed] = []
        self._first = 0

    def append(self, placed: Placed) -> None:
        self._events.append(placed)

    @property
    def first(self) -> Placed:
        return self._events[self._first]

    def advance(self) -> None:
        self._first += 1
        if self._first > 64 and self._first * 2 > len(self._events):
            del self._events[: self._first]
            self._first = 0

    def __len__(self) -> int:
        return len(self._events) - self._first

    def __iter__(self) -> Iterator[Placed]:
        return iter(self._events[self._first :])


class _Batch:
    """
    What was leased at once and is not settled: `out` by place in the lease, or `back` because the lease came back.

    It goes out again as it is, without newer events. `lanes` counts its events by lane.
    """

    __slots__ = ("back", "is_barrier", "lanes", "lease", "out")

    def __init__(self, lanes: dict[int, int]) -> None:
        self.back: list[Placed] = []
        self.lanes = lanes
        self.is_barrier = ALL_LANES in lanes
        self.lease: Lease | None = None
        self.out: dict[int, Placed] = {}

    @property
    def first(self) -> Placed:
        """Its first event that is not settled."""
        return next(iter(self.out.values())) if self.out else self.back[0]


def _at_work(method: Callable[Concatenate[Window, P], R]) -> Callable[Concatenate[Window, P], R]:
    """A method in whose middle nothing may be taken away."""

    @wraps(method)
    def work(self: Window, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            self.at_work = True
            return method(self, *args, **kwargs)
        finally:
            self.at_work = False

    return work


class Window:
    """
    The events that wait, in the order of put, and those that are leased. `limit` is the rule of reach.

    It need not hold all that a queue holds: add events in their order, as many at a time as is convenient. Their places
    are counted from 0 as they are added.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.waiting: deque[Waiting] = deque()
        """What was never looked at: the last ones of all that were added, without a gap."""
        self.add = self.waiting.append
        """Adds one event. Not a method of ours: every capture pays for it."""
        self.at_work = False
        """Whether a method is under way, in this very thread if its owner asks: then nothing can be evicted."""
        self._first = 0
        """The place of the first of them."""
        self.ready = 0
        """How many were looked at and may go now; the others were passed over and are counted in `_held`."""
        self._held = 0
        self._lines: dict[int, _Line] = {}
        self._free: list[tuple[int, int]] = []
        """Where the lines begin whose lanes are free, and which these are; a heap. Old entries are recognised later."""
        self._batches: list[_Batch] = []
        self._leases: dict[Lease, _Batch] = {}
        self._busy: set[int] = set()
        """The lanes of all batches that are not settled; `ALL_LANES` as well, for as long as there is one."""
        self._reaches: list[int] = []
        """The last place of each lease that holds something at or past `head`."""

    @property
    def depth(self) -> int:
        """Events that wait and are not leased."""
        return len(self.waiting) + self.ready + self._held

    @property
    def tail(self) -> int:
        """The place that the next event will have."""
        return self._first + len(self.waiting)

    @property
    @_at_work
    def head(self) -> int:
        """The place of the first event that is not settled; `tail` when all are."""
        return self._head()

    @property
    @_at_work
    def first(self) -> Waiting | None:
        """The event at `head`."""
        first = self._first_left()
        return None if first is None else first[1]

    @property
    @_at_work
    def oldest(self) -> float | None:
        """When the oldest event was put that waits."""
        firsts = [batch.back[0] for batch in self._batches if batch.back]
        firsts += [line.first for line in self._lines.values()]
        if self.waiting:
            firsts.append((self._first, self.waiting[0]))
        return min(firsts, key=_place)[1].at if firsts else None

    @property
    @_at_work
    def front(self) -> Front | None:
        """What could be leased now; None when nothing could."""
        returned = self._returned()
        if returned is not None:
            place, event = returned.back[0]
            return Front(self.ready + len(self.waiting), place, event.at)
        if not self._may_lease():
            return None
        first = self._first_free()
        count = self.ready
        if self.waiting and not (self._batches and self.waiting[0].envelope.lane == ALL_LANES):
            count += len(self.waiting)
            first = first or (self._first, self.waiting[0])
        return None if first is None else Front(count, first[0], first[1].at)

    @_at_work
    def lease(self, max_events: int, max_bytes: int) -> Lease | None:
        """
        Hand out the oldest events that may leave and fit one request.

        None when none may. Also, now and then, when so many were passed over that it is time to let go of the lock:
        `front` tells whether to come again.
        """
        batch = self._returned()
        if batch is not None:
            sizes: Iterator[tuple[Route, int]] = ((event.envelope.route, len(event.item)) for _, event in batch.back)
            count = track.cut(sizes, max_events, max_bytes)
            self.ready -= count
            going, batch.back = batch.back[:count], batch.back[count:]
            return self._hand_out(batch, going)
        if not self._may_lease():
            return None
        taken: list[Placed] = []
        picks = self._pick(taken)
        count = track.cut(picks, max_events, max_bytes)
        if count > len(taken):  # one that travels alone: it was not asked whether there are more
            next(picks, None)
        picks.close()
        if not taken:
            return None
        batch = _Batch({} if self._limit == 1 else Counter([event.envelope.lane for _, event in taken]))
        self._busy.update(batch.lanes)
        self._busy.add(ALL_LANES)
        for lane in batch.lanes.keys() & self._lines.keys():
            self.ready -= len(self._lines[lane])
            self._held += len(self._lines[lane])
        self._batches.append(batch)
        self._reaches.append(taken[-1][0])
        return self._hand_out(batch, taken)

    @_at_work
    def settle(self, lease: Lease, indexes: Iterable[int]) -> list[Waiting]:
        """These are done with. Returns those that were not before."""
        batch = self._leases.get(lease)
        if batch is None:
            return []
        settled = [placed[1] for index in indexes if (placed := batch.out.pop(index, None)) is not None]
        if not batch.out:
            self._end(batch)
        if not batch.back and not batch.out:
            self._release(batch.lanes)
        elif batch.lanes:
            self._release(_none_left(batch.lanes, settled))
        return settled

    def holds(self, lease: Lease, index: int) -> bool:
        """Whether this one is leased and not settled."""
        batch = self._leases.get(lease)
        return batch is not None and index in batch.out

    @_at_work
    def nack(self, lease: Lease) -> list[Waiting]:
        """Take what is not settled back, in its old place. Returns what came back."""
        batch = self._leases.get(lease)
        if batch is None:
            return []
        back = list(batch.out.values())
        self.ready += len(back)
        batch.back = [*back, *batch.back]
        batch.out = {}
        self._end(batch)
        return [event for _, event in back]

    @_at_work
    def evict(self) -> Waiting | None:
        """Give up an event that waits: the oldest, or one of the oldest where lanes hold many back. Not `at_work`."""
        returned = next((batch for batch in self._batches if batch.back), None)
        if returned is not None:
            _, event = returned.back.pop(0)
            self.ready -= 1
            if not returned.back and not returned.out:
                self._batches.remove(returned)
                self._release(returned.lanes)
            elif returned.lanes:
                self._release(_none_left(returned.lanes, [event]))
            return event
        lane = next(iter(self._lines), None)
        if lane is not None:
            is_free = lane not in self._busy
            event = self._take_from(lane)
            self.ready -= is_free
            self._held -= not is_free
            if is_free and lane in self._lines:
                heappush(self._free, (self._lines[lane].first[0], lane))
            return event
        if not self.waiting:
            return None
        self._first += 1
        return self.waiting.popleft()

    def clear(self) -> list[Waiting]:
        """Forget everything, and return it. Leases that are out settle nothing any more."""
        kept = list(self)
        self._first = self.tail
        self.waiting.clear()
        for each in (self._lines, self._free, self._batches, self._leases, self._busy, self._reaches):
            each.clear()
        self.ready = self._held = 0
        return kept

    @_at_work
    def __iter__(self) -> Iterator[Waiting]:
        """All that is held now, waiting or leased."""
        placed = [placed for batch in self._batches for placed in (*batch.out.values(), *batch.back)]
        placed += [placed for line in self._lines.values() for placed in line]
        return iter([*(event for _, event in placed), *self.waiting])

    def _first_left(self) -> Placed | None:
        # What a lane holds back comes after an event of that lane that is out.
        firsts = [batch.first for batch in self._batches]
        if (free := self._first_free()) is not None:
            firsts.append(free)
        elif self.waiting:
            firsts.append((self._first, self.waiting[0]))
        return min(firsts, key=_place, default=None)

    def _returned(self) -> _Batch | None:
        """The oldest batch that came back and may go out again."""
        for batch in self._batches:
            if batch.back and batch.lease is None:
                return batch
        return None

    def _may_lease(self) -> bool:
        """Whether a lease may be handed out that is none that came back."""
        if any(batch.is_barrier for batch in self._batches):
            return False
        head = self._head()
        self._reaches = [last for last in self._reaches if last >= head]
        return len(self._reaches) < self._limit

    def _head(self) -> int:
        first = self._first_left()
        return self.tail if first is None else first[0]

    def _first_free(self) -> Placed | None:
        """The first event that was passed over and whose lane is free by now."""
        while self._free:
            place, lane = self._free[0]
            line = self._lines.get(lane)
            if line is not None and lane not in self._busy and line.first[0] == place:
                return line.first
            heappop(self._free)
        return None

    def _pick(self, taken: list[Placed]) -> Generator[tuple[Route, int]]:
        """Offer one event after the other that may go. It is taken when the next one is asked for."""
        while (placed := self._first_free()) is not None:
            _, event = placed
            yield event.envelope.route, len(event.item)
            lane = event.envelope.lane
            taken.append(placed)
            self._take_from(lane)
            self.ready -= 1
            if lane in self._lines:
                heapreplace(self._free, (self._lines[lane].first[0], lane))
        waiting, busy, lines, looks = self.waiting, self._busy, self._lines, _MOST_LOOKS
        take, note = waiting.popleft, taken.append  # most leases are nothing but a thousand of these
        while waiting:
            event = waiting[0]
            envelope = event.envelope
            lane = envelope.lane
            if lane not in busy:
                yield envelope.route, len(event.item)
                take()
                note((self._first, event))
            elif lane == ALL_LANES or not looks:
                return
            else:
                take()
                lines.setdefault(lane, _Line()).append((self._first, event))
                self._held += 1
                looks -= 1
            self._first += 1

    def _take_from(self, lane: int) -> Waiting:
        line = self._lines[lane]
        _, event = line.first
        line.advance()
        del self._lines[lane]
        if line:
            self._lines[lane] = line  # at the end again, so that the first lanes are those that have waited longest
        return event

    def _hand_out(self, batch: _Batch, going: list[Placed]) -> Lease:
        batch.out = dict(enumerate(going))
        batch.lease = Lease([(event.envelope, event.item) for _, event in going])
        self._leases[batch.lease] = batch
        return batch.lease

    def _end(self, batch: _Batch) -> None:
        """Its lease is over."""
        if batch.lease is not None:
            del self._leases[batch.lease]
        batch.lease = None
        if not batch.back:
            self._batches.remove(batch)

    def _release(self, lanes: Iterable[int]) -> None:
        """Nothing of these lanes is out any more: what they held back may go."""
        self._busy.difference_update(lanes)
        if self._batches:
            self._busy.add(ALL_LANES)
        else:
            self._busy.clear()
        if self._lines:
            for lane in self._lines.keys() & set(lanes):
                line = self._lines[lane]
                self._held -= len(line)
                self.ready += len(line)
                heappush(self._free, (line.first[0], lane))


def _place(placed: Placed) -> int:
    return placed[0]


def _none_left(lanes: dict[int, int], settled: list[Waiting]) -> list[int]:
    """The lanes that these were the last of."""
    gone = []
    for event in settled:
        lane = event.envelope.lane
        lanes[lane] -= 1
        if not lanes[lane]:
            del lanes[lane]
            gone.append(lane)
    return gone
