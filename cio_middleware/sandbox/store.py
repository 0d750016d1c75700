"""
Workspaces: one for each site id, with people, events, requests, faults and counters of their own.

Everything here runs on the thread of one event loop, which is its only lock. A state outlives the server that
shows it, so that a test can stop the server, lose requests, and start it again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cio_middleware.sandbox.advice import Situation, advise, is_ulid
from cio_middleware.sandbox.bell import Bell
from cio_middleware.sandbox.changes import Changes
from cio_middleware.sandbox.clearing import Undo
from cio_middleware.sandbox.contexts import Contexts
from cio_middleware.sandbox.effects import Setting, apply
from cio_middleware.sandbox.entrance import Access
from cio_middleware.sandbox.faults import Faults
from cio_middleware.sandbox.fidelity import Fidelity
from cio_middleware.sandbox.jsontext import has_non_finite
from cio_middleware.sandbox.ledger import Ledger, Rows
from cio_middleware.sandbox.lessons import Lessons
from cio_middleware.sandbox.operations import EVENT_KINDS
from cio_middleware.sandbox.people import People
from cio_middleware.sandbox.ring import Latest, Ring, trim
from cio_middleware.sandbox.rows import EventRow, RequestRow
from cio_middleware.sandbox.rules import objections
from cio_middleware.sandbox.tries import Attempts, Tries, key_of, message, ulid
from cio_middleware.sandbox.veil import Veil
from cio_middleware.sandbox.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cio_middleware.sandbox.operations import Operation

DEFAULT_WORKSPACE = "dev"


@dataclass(frozen=True, slots=True)
class Capacity:
    """
    How much a workspace keeps, and how many of them there are; the oldest goes first.

    Attributes:
        events: Rows, and as many requests; None means no bound.
        size: Bytes of what was received, for events and again for requests; None means no bound.
        ids: ULIDs by which a repeat is known. An older one is stored as a new event.
        tries: Operations whose earlier requests are known, for the statuses of a row.
        statuses: Requests that are known of each, the newest.
        people: Profiles, and as many objects and as many suppressed identifiers.
        moments: Entries in the timeline of each person.
        names: Names that have counters of their own; later ones are counted together.
        changes: Entries of the change log, from which a stream goes on after a break.
        workspaces: Site ids; one more is refused, unless one of them is empty and gives way.
    """

    events: int | None = 5000
    size: int | None = 64 * 1024 * 1024
    ids: int = 1_000_000
    tries: int = 100_000
    statuses: int = 1000
    people: int = 100_000
    moments: int = 10_000
    names: int = 10_000
    changes: int = 20_000
    workspaces: int = 1000


class Keeper(Protocol):
    """What keeps workspaces over a restart; see `archive.Archive`."""

    def names(self) -> list[str]:
        """Return the workspaces that are kept."""
        ...

    def load(self, workspace: Workspace) -> None:
        """Bring back what is kept of a workspace."""
        ...

    def attach(self, workspace: Workspace) -> None:
        """Keep a workspace as it is now and after each change."""
        ...

    def forget(self, name: str) -> None:
        """Keep a workspace no longer."""
        ...

    def close(self) -> None:
        """Let go of what is kept."""
        ...


@dataclass(frozen=True, slots=True)
class House:
    """
    What all workspaces share.

    Attributes:
        fidelity: The rules of doubt.
        capacity: How much is kept.
        clock: Unix seconds.
        on_event: Who is told of each row.
        access: Who may come in.
        veil: What is masked in everything that is shown.
        strict: Warnings make an event bad.
        region: What `GET /api/v1/accounts/region` answers.
        patience: Seconds in which the head of a request, and then its body, must be whole.
        registry: The names of events that are known; None means that any is.
        archive: Where all is kept over a restart; None keeps it in memory alone.
    """

    fidelity: Fidelity = field(default_factory=Fidelity)
    capacity: Capacity = field(default_factory=Capacity)
    clock: Callable[[], float] = time.time
    on_event: Callable[[EventRow], None] | None = None
    access: Access = field(default_factory=Access)
    veil: Veil = field(default_factory=Veil)
    strict: bool = False
    region: str = "us"
    patience: float = 30.0
    monotonic: Callable[[], float] = time.monotonic
    registry: frozenset[str] | None = None
    archive: Keeper | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of one operation, before the answer to its request is known."""

    op: Operation
    seq: int
    verdict: Verdict
    person: str | None = None
    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Memory:
    """What a workspace knows, apart from its faults: what a capture holds, and a disk keeps."""

    seq: int
    requests_numbered: int
    people: People
    objects: OrderedDict[tuple[str, str], dict[str, Any]]
    ledger: Ledger


class Workspace:
    """One site id's world."""

    def __init__(self, name: str, house: House, epoch: int = 1) -> None:
        self.name = name
        self.changes = Changes(epoch, house.capacity.changes)
        self.seq = 0
        self.faults = Faults(lambda: self.now)
        self.bell = Bell()
        self.frozen_at: float | None = None
        self.undo = Undo(house.monotonic)
        self._house = house
        self._requests_numbered = 0
        self._empty()

    def _empty(self) -> None:
        capacity = self._house.capacity
        self.people = People(capacity.people, capacity.moments)
        self.objects: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self.ledger = Ledger(capacity.events, capacity.size, capacity.names, strict=self._house.strict)
        self.contexts = Contexts(capacity.events or capacity.tries)
        self._lessons = Lessons(self._house.registry)
        self._seen: Latest[str] = Latest(capacity.ids)
        self._attempts = Attempts(capacity.tries, capacity.statuses)

    @property
    def epoch(self) -> int:
        """Which beginning this is; a reset makes a new one, and so does another start of the sandbox."""
        return self.changes.epoch

    @property
    def events(self) -> Rows:
        """The rows."""
        return self.ledger.rows

    @property
    def requests(self) -> Ring[RequestRow]:
        """The requests."""
        return self.ledger.requests

    @property
    def now(self) -> float:
        """The time in this workspace, in Unix seconds."""
        return self._house.clock() if self.frozen_at is None else self.frozen_at

    @property
    def memory(self) -> Memory:
        """Everything that a capture of this workspace holds."""
        return Memory(self.seq, self._requests_numbered, self.people, self.objects, self.ledger)

    def remember(self, memory: Memory) -> None:
        """Put a capture in place of what is here; totals then count what the capture holds."""
        self.undo = Undo(self._house.monotonic)  # what was cleared before has the same numbers, and no place here
        self._empty()
        self.seq = max(self.seq, memory.seq)
        self._requests_numbered = max(self._requests_numbered, memory.requests_numbered)
        self.people, self.objects, self.ledger = memory.people, memory.objects, memory.ledger
        trim(self.objects, self._house.capacity.people)
        for row in self.events:
            self.contexts.came(row)
        for known in map(self.known_by, self.events):
            if known is not None:
                self.saw(known)
        self.changes.begin_epoch()
        self.bell.ring()

    def saw(self, known_by: str) -> None:
        """Know a repeat of an event from now on by this."""
        self._seen.add(known_by)

    @staticmethod
    def known_by(row: EventRow) -> str | None:
        """Return what a repeat of the event of a row is known by; None for a row that stored none."""
        if not row.verdict.stored or not row.event_id:
            return None
        if row.api == "pipelines":
            return message(row.event_id)
        return row.event_id.upper() if row.kind in EVENT_KINDS and is_ulid(row.event_id) else None

    def blank(self) -> Memory:
        """Return a memory with nothing in it, within the bounds of this house."""
        capacity = self._house.capacity
        ledger = Ledger(capacity.events, capacity.size, capacity.names, strict=self._house.strict)
        return Memory(0, 0, People(capacity.people, capacity.moments), OrderedDict(), ledger)

    @property
    def empty(self) -> bool:
        """True when nothing would be lost with it: nothing is known, no fault is set and nobody waits."""
        known = self.ledger.requested or len(self.events) or self.people.anybody or self.undo.waits
        return not known and self.faults.none_set and not self.bell.awaited

    def request(self, name: str) -> RequestRow | None:
        """Return the request with this id, if it is kept."""
        return next((row for row in self.requests.newest_first() if row.id == name), None)

    def row(self, seq: int) -> EventRow | None:
        """Return the row with this number, or the one that took its place."""
        return self.events.get(seq) or next((row for row in self.events.newest_first() if seq in row.replaces), None)

    def reset(self) -> None:
        """
        Forget everything, put all faults away and let the clock go on.

        Numbers go on as well, so an old cursor never points at a new row.
        """
        self.frozen_at = None
        self.faults.clear()
        self.undo = Undo(self._house.monotonic)
        self._empty()
        self.changes.begin_epoch()
        self.bell.ring()

    def clear(self, before: int | None = None) -> tuple[int, str]:
        """
        Empty the ledger, and return how many rows it had and the token with which `put_back` undoes it.

        Args:
            before: Only the rows before this number; None means all, and the requests as well.
        """
        if before is None:
            away, self.ledger = self.ledger, self.blank().ledger
        else:
            away = self.ledger.split(before)
        self.changes.note("reset")
        self.bell.ring()
        return len(away.rows), self.undo.keep(away)

    def put_back(self, token: str) -> int | None:
        """Bring back what was cleared, before what came since; return its rows, or None when it is too late."""
        away = self.undo.take(token)
        if away is None:
            return None
        count = self.ledger.rejoin(away)
        self.changes.note("reset")
        self.bell.ring()
        return count

    def refuse(self, op: Operation, finding: Finding, verdict: Verdict) -> Judgement:
        """Say no without looking: a fault answers, or the request was refused as a whole."""
        return Judgement(op, self.next_seq(), verdict, self._named(op), (finding,))

    def settle(self, op: Operation, now: float) -> Judgement:
        """
        Judge an operation, and apply it when it is accepted.

        Args:
            op: The operation.
            now: When it arrived, in Unix seconds.
        """
        self.next_seq()
        errors = objections(op, self._house.fidelity)
        if errors:
            return Judgement(op, self.seq, Verdict.REJECTED, self._named(op), errors)
        if self._house.fidelity.non_finite == "discard" and has_non_finite(op.sent):
            return Judgement(op, self.seq, Verdict.IGNORED, self._named(op), (_NON_FINITE,))
        known_by = ulid(op)
        again = op.api != "pipelines" or self._house.fidelity.pipelines_repeat == "message_id"
        if again and known_by in self._seen:
            return Judgement(op, self.seq, Verdict.DUPLICATE, self._named(op))
        earlier = self._lessons.before(op, self.people)
        effect = apply(op, Setting(self.people, self.objects, self._house.fidelity, now, self.seq))
        self.people.trim()
        trim(self.objects, self._house.capacity.people)
        if not effect.verdict.stored:
            return Judgement(op, self.seq, effect.verdict, effect.person, effect.findings)
        if known_by is not None:
            self._seen.add(known_by)
        key = key_of(op) if self._lessons.waits else None
        person = None if effect.person is None else self.people.called(effect.person)
        lesson = self._lessons.learn(op, earlier, person, now, key)
        warnings = advise(Situation(op, now, effect.known, lesson))
        verdict = Verdict.ACCEPTED_BUT if warnings else Verdict.ACCEPTED
        return Judgement(op, self.seq, verdict, effect.person, (), warnings)

    def refused(self, judgements: list[Judgement], at: float, wait: float | None) -> None:
        """Remember that a fault refused these at a time, and how many seconds its answer asked to wait."""
        for judged in judgements:
            self._lessons.refused(key_of(judged.op), at, wait)

    def _named(self, op: Operation) -> str | None:
        if op.subject != "person" or not isinstance(op.identifiers, dict):
            return None
        addresses = [(kind, value) for kind, value in op.identifiers.items() if isinstance(value, str)]
        person = next((found for address in addresses if (found := self.people.find(*address))), None)
        return person.key if person else next((value for _, value in addresses), None)

    def publish(self, judgements: list[Judgement], request: RequestRow) -> None:
        """Keep a request and what became of its operations, count them, and wake whoever waits."""
        people: dict[str, None] = {}
        for judged in judgements:
            tries = self._attempts.follow(judged.op, judged.seq, judged.verdict, request, len(judgements))
            row = self._row(judged, request, tries)
            self._keep(row)
            if row.person is not None:
                people[row.person] = None
        for key in people:
            self.changes.note("person", key)
        if request.fault is not None:
            self.changes.note("fault")  # its counters moved
        self.ledger.request(request)
        self.undo.expire()
        self.bell.ring()

    def _keep(self, row: EventRow) -> None:
        self.ledger.add(row, row.size)
        self.contexts.came(row)
        self.changes.note("event", row.seq)
        person = None if row.person is None else self.people.called(row.person)
        if person is not None:
            again, warned = bool(row.replaces), bool(row.warnings)
            person.met(row.verdict, row.name or row.kind, row.received_at, again=again, good=row.good, warned=warned)
        if self._house.on_event is not None:
            self._house.on_event(row)

    def keep(self, row: EventRow) -> None:
        """Keep a row that no request brought, and wake whoever waits; its number comes from `next_seq`."""
        self._keep(row)
        self.bell.ring()

    def faults_changed(self) -> None:
        """Tell whoever looks on that the faults are not what they were."""
        self.changes.note("fault")
        self.bell.ring()

    def next_seq(self) -> int:
        """Return the number of the row that comes next."""
        self.seq += 1
        return self.seq

    def update(self, row: EventRow) -> None:
        """Put a row in the place of the one with its number, when something is known of it that was not before."""
        self.events.put(row)
        self.changes.note("update", row.seq)
        self.bell.ring()

    def _row(self, judged: Judgement, request: RequestRow, tries: Tries) -> EventRow:
        op = judged.op
        return EventRow(
            seq=judged.seq,
            workspace=self.name,
            api=op.api,
            subject=op.subject,
            kind=op.kind,
            name=op.name.strip() if isinstance(op.name, str) else None,
            person=judged.person,
            identifiers=op.identifiers,
            event_id=op.event_id if isinstance(op.event_id, str) else None,
            data=op.attributes,
            timestamp=op.timestamp,
            received_at=request.received_at,
            request=request.id,
            batch_index=op.batch_index,
            verdict=judged.verdict,
            errors=judged.errors,
            warnings=judged.warnings,
            statuses=tuple(attempt.outcome for attempt in tries.log),
            attempts_log=tries.log,
            replaces=tries.replaced,
            size=op.size,
            strict=self._house.strict,
            sent=op.sent,
            context=self.contexts.get(op.event_id if isinstance(op.event_id, str) else None),
        )

    def next_request(self) -> str:
        """Return the id of the request that begins now."""
        self._requests_numbered += 1
        return f"r{self._requests_numbered}"

    def summary(self) -> dict[str, Any]:
        """Return the counters; they count everything since the last reset or clear, evicted rows too."""
        return {
            "workspace": self.name,
            "epoch": self.epoch,
            "cursor": self.seq,
            "stream_cursor": self.changes.cursor,
            "people": len(self.people),
            "people_evicted": self.people.evicted,
            **self.ledger.counts(),
        }


_NON_FINITE = Finding(
    "I-non-finite", "ignored", "", "", "a number in it is not finite, and Customer.io discards the update", "Send null."
)


class Full(Exception):
    """There are as many workspaces as the sandbox keeps; the message says so."""


class Workspaces:
    """All workspaces of one sandbox, by site id."""

    def __init__(self, house: House | None = None) -> None:
        self.house = house or House()
        self.started_at = self.house.clock()
        self.opened = Bell()
        self._epoch = int(self.started_at * 1000)  # so that no cursor of an earlier start means anything now
        self._open: dict[str, Workspace] = {}
        if self.house.archive is not None:
            self._bring_back(self.house.archive)

    def _bring_back(self, archive: Keeper) -> None:
        for name in archive.names():
            self._open[name] = Workspace(name, self.house, self._epoch)
            archive.load(self._open[name])
            archive.attach(self._open[name])

    def __iter__(self) -> Iterator[Workspace]:
        return iter(self._open.values())

    def open(self, name: str | None) -> Workspace:
        """
        Return the workspace of a site id, a new one if there is none; see `peek` for None.

        When there are too many, an empty one gives way, and its numbers begin anew when it comes back.

        Raises:
            Full: when there is one too many and none is empty.
        """
        workspace = self.peek(name)
        if workspace.name not in self._open and len(self._open) >= self.house.capacity.workspaces:
            unused = next((known for known in self if known.empty), None)
            if unused is None:
                raise Full(f"the sandbox has {len(self._open)} workspaces, one for each site id, and keeps no more")
            del self._open[unused.name]
            if self.house.archive is not None:
                self.house.archive.forget(unused.name)
        if workspace.name not in self._open:
            self._open[workspace.name] = workspace
            if self.house.archive is not None:
                self.house.archive.attach(workspace)
            self.opened.ring()
        return workspace

    def peek(self, name: str | None) -> Workspace:
        """
        Return a workspace to look at, without creating one: an unknown name shows an empty one.

        None means the only workspace there is, or else the default, ``dev``.
        """
        if name is None:
            name = next(iter(self._open)) if len(self._open) == 1 else DEFAULT_WORKSPACE
        return self._open.get(name) or Workspace(name, self.house, self._epoch)

    def __contains__(self, name: object) -> bool:
        return name in self._open
