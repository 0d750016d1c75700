"""
The spool beside a model of it, while processes die, power is lost, and others take over.

Two processes share a directory. Whatever happens to them, in whatever order: see the invariants at the end.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cio_middleware._stats import DropReason
from cio_middleware.queues.spool import format as layout
from cio_middleware.testing.clock import ManualClock
from cio_middleware.typing import Lease, Refusal
from tests.unit.queues.spool.fake_files import FakeFiles, Machine
from tests.unit.queues.spool.spooling import PATH, Spool, item

places = st.integers(0, 1)
picks = st.integers(0, 7)


class Life:
    """One process: its queue, and what the model knows of it."""

    def __init__(self, machine: Machine, clock: ManualClock, number: int, **changes: Any) -> None:
        self.number = number
        self.files = FakeFiles(machine)
        self.spool = Spool(self.files, clock, room=150, **changes)
        self.put: list[str] = []
        """What it accepted, in order."""
        self.safe = 0
        """How many of these a loss of power must leave."""
        self.settled: set[str] = set()
        """What it delivered, dropped or dead-lettered, its own events and others'."""
        self.out: dict[Lease, dict[int, str]] = {}
        self.furthest: dict[tuple[int, str], int] = {}
        """By whose event and which lane: the last one that it has leased."""
        self.leased: set[str] = set()
        self.adopted: set[str] = set()

    @property
    def left(self) -> list[str]:
        """Its own events that are not settled."""
        return [name for name in self.put if name not in self.settled]


class SpoolModel(RuleBasedStateMachine):
    """Rules are what users and machines do; invariants are what the spool promises."""

    @initialize(fsync=st.sampled_from(["interval", "always"]), in_flight=st.integers(1, 3))
    def begin(self, fsync, in_flight):
        """An empty machine."""
        self.machine = Machine()
        self.clock = ManualClock()
        self.options = {"fsync": fsync, "max_in_flight": in_flight}
        self.always = fsync == "always"
        self.alive: list[Life | None] = [None, None]
        self.lives: list[Life] = []
        self.origin: dict[str, tuple[Life, int, str]] = {}
        """Of each accepted event: who took it, as the how many-th, and its lane."""
        self.size: dict[str, int] = {}
        self.settled: set[str] = set()
        self.dead: set[str] = set()
        self.unsafe: set[str] = set()
        """What a loss of power was allowed to take."""
        self.seen_since: dict[str, set[int]] = defaultdict(set)
        """By event: which processes leased it."""
        self.numbers = 0
        self.start(0)

    def living(self, place: int) -> Life | None:
        """The process there, or the other one."""
        return self.alive[place] or self.alive[1 - place]

    @precondition(lambda self: None in self.alive)
    @rule(place=places)
    def start(self, place):
        """A process starts."""
        if self.alive[place] is None:
            life = Life(self.machine, self.clock, len(self.lives), **self.options)
            self.alive[place] = life
            self.lives.append(life)

    @rule(place=places, lane=st.sampled_from("abc"), size=st.sampled_from([30, 30, 200, 5000]), wait=st.booleans())
    def put(self, place, lane, size, wait):
        """One more event, which is accepted: there is room. A minute after the last one it begins a segment."""
        self.clock.advance(61.0 * wait)
        if (life := self.living(place)) is None:
            return
        name = f"{life.number}.{len(life.put)}"
        assert life.spool.put(name, size, lane=lane).reason is None
        self.origin[name] = (life, len(life.put), lane)
        self.size[name] = size
        life.put.append(name)
        if self.always:
            life.safe = len(life.put)

    @rule(place=places, most=st.integers(1, 5))
    def lease(self, place, most):
        """Events leave: unaltered, in the order of their lane, no lane twice at once, none that was settled."""
        if (life := self.living(place)) is None:
            return
        lease = life.spool.queue.lease(most, 475_000)
        if lease is None:
            return
        out = {self.origin[name][::2] for names in life.out.values() for name in names.values()}
        life.out[lease] = {}
        for index, (envelope, content) in enumerate(lease.entries):
            name = envelope.event_id
            assert content == item(name, self.size[name])
            assert name not in life.settled
            producer, seq, lane = self.origin[name]
            assert (producer, lane) not in out, "a lane is on one lease at a time"
            if name not in life.leased:
                assert seq > life.furthest.get((producer.number, lane), -1), "an event has overtaken one of its lane"
                life.furthest[producer.number, lane] = seq
            life.leased.add(name)
            life.out[lease][index] = name
            self.seen_since[name].add(life.number)

    @rule(place=places, pick=picks, index=picks, how=st.sampled_from(["ack", "ack", "ack", "drop", "dead"]))
    def settle(self, place, pick, index, how):
        """One place of a lease is settled, if it was not yet."""
        if (life := self.living(place)) is None or not life.out:
            return
        lease = list(life.out)[pick % len(life.out)]
        name = life.out[lease].pop(index, None)
        queue = life.spool.queue
        if how == "ack":
            assert queue.ack(lease, [index]) == (name is not None)
        elif how == "drop":
            assert queue.drop(lease, [index], DropReason.EXPIRED) == (name is not None)
        else:
            assert queue.dead_letter(lease, index, Refusal("why")) == (name is not None)
            if name is not None:
                self.dead.add(name)
        if name is not None:
            life.settled.add(name)
            self.settled.add(name)

    @rule(place=places, pick=picks)
    def settle_all(self, place, pick):
        """A whole lease is delivered."""
        if (life := self.living(place)) is None or not life.out:
            return
        lease = list(life.out)[pick % len(life.out)]
        left = life.out.pop(lease)
        assert life.spool.queue.ack(lease, range(len(lease.entries))) == len(left)
        life.settled.update(left.values())
        self.settled.update(left.values())

    @rule(place=places, pick=picks)
    def nack(self, place, pick):
        """What is left of a lease comes back."""
        if (life := self.living(place)) is not None and life.out:
            lease = list(life.out)[pick % len(life.out)]
            life.spool.queue.nack(lease)
            del life.out[lease]

    @rule(place=places)
    def tick(self, place):
        """The keeper looks after the spool: what was put until now is safe from a loss of power."""
        if (life := self.living(place)) is not None:
            life.spool.tick()
            life.safe = len(life.put)

    @rule(place=places, seconds=st.sampled_from([0.0, 1.0, 10.0, 61.0]))
    def tend(self, place, seconds):
        """Time passes, and the worker looks for dead processes."""
        self.clock.advance(seconds)
        if (life := self.living(place)) is not None:
            life.spool.queue.tend(closing=False)

    @rule(place=places)
    def close(self, place):
        """A process ends as it should: what is on disk stays, and is safe."""
        if (life := self.living(place)) is None:
            return
        assert life.spool.close() == 0
        assert life.spool.queue.kept == len(life.left)
        assert life.files.opened == []
        assert life.spool.put("late").reason is DropReason.CLOSED
        assert life.spool.ledger.read().balanced
        life.safe = len(life.put)
        self.end(life)

    @rule(place=places)
    def die(self, place):
        """A process is killed."""
        if (life := self.living(place)) is not None:
            self.end(life)

    @precondition(lambda self: any(life is not None and life.put for life in self.alive))
    @rule(data=st.data())
    def lose_power(self, data):
        """The machine goes down, and comes back with what was synced and some of the rest."""
        for life in self.alive:
            if life is not None:
                self.end(life)
        names_stay = data.draw(st.booleans())
        amounts: dict[int, st.SearchStrategy[int]] = {}

        def keep(what: str, much: int) -> int:
            if what == "names" and names_stay:
                return much
            amount = amounts.setdefault(much, st.sampled_from([0, much]) | st.integers(0, much))
            return int(data.draw(amount))

        self.machine.crash(keep)
        for life in self.lives:
            self.unsafe.update(life.put[life.safe :])
        self.seen_since.clear()

    def end(self, life: Life) -> None:
        """It is no more."""
        life.files.die()
        self.alive[self.alive.index(life)] = None

    @invariant()
    def counts(self):
        """Every event is somewhere, in the ledger and in the queue."""
        for life in self.alive:
            if life is None:
                continue
            queue, stats = life.spool.queue, life.spool.ledger.read()
            orphan = queue._orphan
            theirs = 0 if orphan is None else orphan.out + orphan.in_memory
            assert stats.balanced
            assert stats.captured == len(life.put)
            assert stats.pending == len(life.left) + theirs
            assert stats.delivered + stats.dead_lettered + sum(stats.dropped.values()) == len(life.settled)
            own_out = sum(self.origin[name][0] is life for names in life.out.values() for name in names.values())
            assert queue.depth == len(life.left) - own_out
            assert queue.tail == len(life.put)
            if life.left:
                assert queue.head == life.put.index(life.left[0])

    @invariant()
    def says_nothing(self):
        """None of this is damage, and nothing of it is worth a line in a log, but for a header that was cut short."""
        for life in self.lives:
            assert all("is no segment" in line for line in life.spool.lines.said)

    def teardown(self):
        """In the end another process finds all that was accepted and not settled, as it was put."""
        if not hasattr(self, "machine"):
            return
        for life in list(self.alive):
            if life is not None:
                self.end(life)
        last = Life(self.machine, self.clock, len(self.lives), **self.options)
        assert last.spool.put("last").reason is None
        found = {}
        for envelope, content in last.spool.drain():
            assert envelope.event_id not in found, "an event came twice in one process"
            found[envelope.event_id] = content
        assert found.pop("last") == item("last")
        assert all(content == item(name, self.size[name]) for name, content in found.items())
        lost = {name for name in self.origin if name not in self.settled and name not in found}
        assert lost <= self.unsafe, "an accepted event is gone"
        for life in self.lives:
            gone = [seq for seq, name in enumerate(life.put) if name in lost]
            there = [seq for seq, name in enumerate(life.put) if name in found or self.seen_since.get(name)]
            assert not gone or not there or min(gone) > max(there), "there is a hole in what is left"
        letters = {letter.envelope.event_id: letter.item for letter in last.spool.queue.dead_letters}
        assert letters == {name: item(name, self.size[name]) for name in self.dead}
        assert last.spool.ledger.read().balanced
        assert last.spool.ledger.read().pending == 0
        # A header that was cut short by a loss of power is all that may have been set aside.
        aside = last.files.listing(f"{PATH}/quarantine")
        assert all(len(last.files.read(f"{PATH}/quarantine/{name}")) < layout.HEADER_BYTES for name in aside)
        assert not last.spool.lines.said or aside
        last.spool.close()
        assert last.files.opened == []
        assert last.files.listing(f"{PATH}/v1") == []


TestSpoolModel = SpoolModel.TestCase
TestSpoolModel.settings = settings(max_examples=400, stateful_step_count=40, suppress_health_check=list(HealthCheck))
