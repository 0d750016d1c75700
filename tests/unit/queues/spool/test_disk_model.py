"""
The spool on a disk that fails and recovers, in whatever call and whenever: what was taken is delivered once, in order.
"""

from __future__ import annotations

import errno

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cio_middleware._stats import DropReason
from cio_middleware.typing import Lease
from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import Spool, item

KINDS = [
    "open", "write", "pwrite", "pread", "sync", "sync_directory", "truncate", "unlink", "stat", "stat_at", "names",
    "lock", "make_directory", "free",
]  # fmt: skip
CODES = [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EACCES]


rooms = st.sampled_from([1, 500])


class DiskModel(RuleBasedStateMachine):
    """One process that lives on; its disk does not always."""

    @initialize(
        fsync=st.sampled_from(["interval", "always", "off"]),
        in_flight=st.integers(1, 3),
        room=st.sampled_from([1, 500]),
    )
    def begin(self, fsync, in_flight, room):
        """A disk that works."""
        self.files = FakeFiles()
        self.spool = Spool(self.files, fsync=fsync, max_in_flight=in_flight, room=room)
        self.taken: list[str] = []
        self.lane: dict[str, str] = {}
        self.out: dict[Lease, list[str]] = {}
        self.settled: set[str] = set()
        self.refused = 0
        self.failed: set[str] = set()

    @rule(lane=st.sampled_from("ab"), wait=st.booleans())
    def put(self, lane, wait):
        """One more event, which is taken or refused, and never an error."""
        self.spool.clock.advance(61.0 * wait)
        name = str(len(self.taken) + self.refused)
        receipt = self.spool.put(name, lane=lane)
        if receipt.reason is None:
            self.taken.append(name)
            self.lane[name] = lane
        else:
            assert receipt.reason in {DropReason.QUEUE_FULL, DropReason.SPOOL_FAILED}
            self.refused += 1

    @rule(most=st.integers(1, 4))
    def lease(self, most):
        """Events leave, the oldest of each lane first."""
        lease = self.spool.queue.lease(most, 475_000)
        if lease is None:
            return
        self.out[lease] = []
        for envelope, content in lease.entries:
            name = envelope.event_id
            assert content == item(name)
            assert name in self.waiting, "an event left twice"
            assert name == next(each for each in self.waiting if self.lane[each] == self.lane[name]), "out of order"
            self.out[lease].append(name)

    @property
    def waiting(self) -> list[str]:
        """What is neither settled nor leased."""
        out = {name for held in self.out.values() for name in held}
        return [name for name in self.taken if name not in self.settled and name not in out]

    @rule(pick=st.integers(0, 2), back=st.booleans())
    def settle(self, pick, back):
        """A lease is delivered, or comes back."""
        if not self.out:
            return
        lease = list(self.out)[pick % len(self.out)]
        held = self.out.pop(lease)
        if back:
            self.spool.queue.nack(lease)
        else:
            assert self.spool.queue.ack(lease, range(len(held))) == len(held)
            self.settled.update(held)

    @rule(seconds=st.sampled_from([0.2, 1.0, 5.0]))
    def tick(self, seconds):
        """The keeper looks after the spool."""
        self.spool.tick(seconds)

    @rule()
    def tend(self):
        """The worker looks for dead processes, and tidies up."""
        assert self.spool.queue.tend(closing=False) >= 0

    @rule(kind=st.sampled_from(KINDS), code=st.sampled_from(CODES), times=st.sampled_from([1, 1, 2, 1000]))
    def fail(self, kind, code, times):
        """From now on something fails, so many times."""
        # What can be neither marked as settled nor removed comes again from disk: that is no mistake.
        unmarked, unremoved = {"open", "pwrite"} & self.failed, "unlink" in self.failed
        if not (unmarked if kind == "unlink" else unremoved and kind in {"open", "pwrite"}):
            self.failed.add(kind)
            self.files.fail(kind, code, times=times)

    @rule()
    def heal(self):
        """The disk works again."""
        self.files.heal()

    @invariant()
    def counts(self):
        """Every event is somewhere, in the ledger and in the queue."""
        stats = self.spool.ledger.read()
        assert stats.balanced
        assert stats.pending == len(self.taken) - len(self.settled)
        assert stats.delivered == len(self.settled)
        assert sum(stats.dropped.values()) == self.refused
        assert self.spool.queue.depth == len(self.waiting)
        assert self.spool.queue.tail == len(self.taken)

    @invariant()
    def opens_little(self):
        """No failure costs an fd for ever."""
        assert len(self.files.opened) < 40

    def teardown(self):
        """When the disk works again all that was taken is delivered, and a kill after that leaves nothing."""
        if not hasattr(self, "files"):
            return
        self.files.heal()
        for lease in self.out:
            self.spool.queue.nack(lease)
        self.out.clear()
        for _ in range(3):
            self.spool.tick(6.0)
        waiting = self.waiting
        found = self.spool.drained()
        assert sorted(found) == sorted(waiting)
        for lane in "ab":
            assert [name for name in found if self.lane[name] == lane] == [n for n in waiting if self.lane[n] == lane]
        assert self.spool.put("last").reason is None
        assert self.spool.drained() == ["last"]
        assert self.spool.lines.about("quarantine") == []


TestDiskModel = DiskModel.TestCase
TestDiskModel.settings = settings(max_examples=200, stateful_step_count=40, suppress_health_check=list(HealthCheck))
