"""
Workspaces: one for each site id, with people, events, requests, faults and counters of their own.

Everything here runs on the thread of one event loop, which is its only lock. A state outlives the server that
shows it, so that a test can stop the server, lose requests, and start it again.
"""

from __future__ import annotations

import json
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.advice import Situation, advise, is_ulid
from cio_middleware.sandbox.bell import Bell
from cio_middleware.sandbox.effects import Setting, apply
from cio_middleware.sandbox.faults import Faults
from cio_middleware.sandbox.fidelity import Fidelity
from cio_middleware.sandbox.jsontext import has_non_finite
from cio_middleware.sandbox.memory import Memory
from cio_middleware.sandbox.people import People
from cio_middleware.sandbox.ring import Latest, Ring, trim
from cio_middleware.sandbox.rows import EventRow, RequestRow
from cio_middleware.sandbox.rules import objections
from cio_middleware.sandbox.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cio_middleware.sandbox.operations import Operation

DEFAULT_WORKSPACE = "dev"

NAME_CHARS = 500
"""Characters of a name by which the counters tell names apart."""

OTHER_NAMES = "(other names)"
"""Where the counters put a name that is new when there are too many."""


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
    workspaces: int = 1000


@dataclass(frozen=True, slots=True)
class House:
    """
    What all workspaces share.

    Attributes:
        fidelity: The rules of doubt.
        clock: Unix seconds.
        on_event: Who is told of each row.
        registry: The names of events that are known; None means that any is.
    """

    fidelity: Fidelity = field(default_factory=Fidelity)
    capacity: Capacity = field(default_factory=Capacity)
    clock: Callable[[], float] = time.time
    on_event: Callable[[EventRow], None] | None = None
    registry: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of one operation, before the answer to its request is known."""

    op: Operation
    seq: int
    verdict: Verdict
    person: str | None = None
    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


class Workspace:
    """One site id's world."""

    def __init__(self, name: str, house: House) -> None:
        self.name = name
        self.epoch = 1
        self.seq = 0
        self.faults = Faults(house.clock)
        self.bell = Bell()
        self._house = house
        self._requests_numbered = 0
        self._empty()

    def _empty(self) -> None:
        capacity = self._house.capacity
        self.people = People(capacity.people, capacity.moments)
        self.objects: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self.events: Ring[EventRow] = Ring(capacity.events, capacity.size)
        self.requests: Ring[RequestRow] = Ring(capacity.events, capacity.size)
        self.verdicts: Counter[str] = Counter()
        self.names: dict[str, Counter[str]] = {}
        self.requested = 0
        self._memory = Memory(self._house.registry)
        self._seen: Latest[str] = Latest(capacity.ids)
        self._tries: OrderedDict[str | bytes, tuple[int | str, ...]] = OrderedDict()

    @property
    def empty(self) -> bool:
        """True when nothing would be lost with it: no request came, no fault is set and nobody waits."""
        return not self.requested and self.faults.none_set and not self.bell.awaited

    def reset(self) -> None:
        """
        Forget everything and put all faults away; numbers go on, so an old cursor never points at a new row.
        """
        self.epoch += 1
        self.faults.clear()
        self._empty()
        self.bell.ring()

    def refuse(self, op: Operation, finding: Finding, verdict: Verdict) -> Judgement:
        """Say no without looking: a fault answers, or the request was refused as a whole."""
        self.seq += 1
        return Judgement(op, self.seq, verdict, self._named(op), (finding,))

    def settle(self, op: Operation, now: float) -> Judgement:
        """
        Judge an operation, and apply it when it is accepted.

        Args:
            op: The operation.
            now: When it arrived, in Unix seconds.
        """
        self.seq += 1
        errors = objections(op, self._house.fidelity)
        if errors:
            return Judgement(op, self.seq, Verdict.REJECTED, self._named(op), errors)
        if self._house.fidelity.non_finite == "discard" and has_non_finite(op.sent):
            return Judgement(op, self.seq, Verdict.IGNORED, self._named(op), (_NON_FINITE,))
        ulid = _ulid(op)
        if ulid in self._seen and not (op.api == "pipelines" and self._house.fidelity.pipelines_repeat == "stored"):
            return Judgement(op, self.seq, Verdict.DUPLICATE, self._named(op))
        earlier = self._memory.before(op, self.people)
        effect = apply(op, Setting(self.people, self.objects, self._house.fidelity, now, self.seq))
        self.people.trim()
        trim(self.objects, self._house.capacity.people)
        if not effect.verdict.stored:
            return Judgement(op, self.seq, effect.verdict, effect.person, effect.findings)
        if ulid is not None:
            self._seen.add(ulid)
        key = (ulid or _digest(op)) if self._memory.waits else None
        person = None if effect.person is None else self.people.called(effect.person)
        lesson = self._memory.learn(op, earlier, person, now, key)
        warnings = advise(Situation(op, now, effect.known, lesson))
        verdict = Verdict.ACCEPTED_BUT if warnings else Verdict.ACCEPTED
        return Judgement(op, self.seq, verdict, effect.person, (), warnings)

    def refused(self, judgements: list[Judgement], at: float, wait: float | None) -> None:
        """Remember that a fault refused these at a time, and how many seconds its answer asked to wait."""
        for judged in judgements:
            self._memory.refused(_ulid(judged.op) or _digest(judged.op), at, wait)

    def _named(self, op: Operation) -> str | None:
        if op.subject != "person" or not isinstance(op.identifiers, dict):
            return None
        addresses = [(kind, value) for kind, value in op.identifiers.items() if isinstance(value, str)]
        person = next((found for address in addresses if (found := self.people.find(*address))), None)
        return person.key if person else next((value for _, value in addresses), None)

    def publish(self, judgements: list[Judgement], request: RequestRow) -> None:
        """Keep a request and what became of its operations, count them, and wake whoever waits."""
        for judged in judgements:
            row = self._row(judged, request)
            self.events.append(row, judged.op.size)
            self.verdicts[row.verdict] += 1
            self._counter(row.name or row.kind)[row.verdict] += 1
            if self._house.on_event is not None:
                self._house.on_event(row)
        self.requests.append(request, request.weight)
        self.requested += 1
        self.bell.ring()

    def _counter(self, name: str) -> Counter[str]:
        name = name[:NAME_CHARS]
        if name not in self.names and len(self.names) >= self._house.capacity.names:
            name = OTHER_NAMES
        return self.names.setdefault(name, Counter())

    def _row(self, judged: Judgement, request: RequestRow) -> EventRow:
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
            statuses=self._tried(op, request),
            sent=op.sent,
        )

    def _tried(self, op: Operation, request: RequestRow) -> tuple[int | str, ...]:
        # A ULID tells repeats apart for ever. Anything else is only known by its bytes, and saying the same thing twice
        # is no retry: such a chain ends with the first request that no fault answered.
        ulid = _ulid(op)
        key = ulid or _digest(op)
        outcome = request.status if request.status is not None else request.fault or "none"
        capacity = self._house.capacity
        tries = (*self._tries.pop(key, ()), outcome)[-capacity.statuses :]
        answered = request.status is not None and request.fault in {None, "latency", "partial", "blackhole"}
        if ulid or not answered:
            self._tries[key] = tries
            trim(self._tries, capacity.tries)
        return tries

    def next_request(self) -> str:
        """Return the id of the request that begins now."""
        self._requests_numbered += 1
        return f"r{self._requests_numbered}"

    def summary(self) -> dict[str, Any]:
        """Return the counters; they count everything since the last reset, evicted rows too."""
        good = sum(self.verdicts[verdict] for verdict in Verdict if verdict.good is True)
        bad = sum(self.verdicts[verdict] for verdict in Verdict if verdict.good is False)
        return {
            "workspace": self.name,
            "epoch": self.epoch,
            "cursor": self.seq,
            "total": self.verdicts.total(),
            "good": good,
            "bad": bad,
            "by_verdict": {str(verdict): self.verdicts[verdict] for verdict in Verdict},
            "by_name": {name: dict(counts) for name, counts in self.names.items()},
            "people": len(self.people),
            "people_evicted": self.people.evicted,
            "requests": self.requested,
            "kept": len(self.events),
            "evicted": self.events.evicted,
        }


def _ulid(op: Operation) -> str | None:
    """Return what Customer.io knows a repeat of this event by; None when it knows it by nothing."""
    if op.api == "pipelines":
        return f"messageId {op.event_id}" if isinstance(op.event_id, str) and op.event_id else None
    return op.event_id.upper() if op.is_event and is_ulid(op.event_id) else None


def _digest(op: Operation) -> bytes:
    said = json.dumps([op.kind, op.identifiers, op.sent], sort_keys=True)
    return blake2b(said.encode(), digest_size=16).digest()


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
        self._open: dict[str, Workspace] = {}

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
        return self._open.setdefault(workspace.name, workspace)

    def peek(self, name: str | None) -> Workspace:
        """
        Return a workspace to look at, without creating one: an unknown name shows an empty one.

        None means the only workspace there is, or else the default, ``dev``.
        """
        if name is None:
            name = next(iter(self._open)) if len(self._open) == 1 else DEFAULT_WORKSPACE
        return self._open.get(name) or Workspace(name, self.house)

    def __contains__(self, name: object) -> bool:
        return name in self._open
