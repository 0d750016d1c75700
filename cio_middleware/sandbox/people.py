"""
Who is who: the profiles of one workspace, and the identifiers that lead to them.

A profile exists from the first thing heard about it. Until an identify claims it, it is a stranger: a visitor
with an anonymous id, or the holder of an identifier that only events have named.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.ring import trim

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED_BY = ("id", "email", "phone", "cio_id", "anonymous_id")
"""Identifiers in the order in which a person is called by them."""

_FIRST_CIO_ID = 0x03000000
_OWN_CIO_ID = re.compile("0[3-9a-f][0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Moment:
    """One entry of a timeline: an event, a page or a screen that reached a person."""

    seq: int
    event_id: str | None
    kind: str
    name: str
    timestamp: int

    def document(self) -> dict[str, Any]:
        """Return the entry as it appears in the control API."""
        return {
            "seq": self.seq,
            "event_id": self.event_id,
            "kind": self.kind,
            "name": self.name,
            "timestamp": self.timestamp,
        }


@dataclass(frozen=True, slots=True)
class Past:
    """One change of an attribute: when in Unix seconds, by which row, and to what; None is its end."""

    seq: int
    at: float
    name: str
    value: Any


@dataclass(slots=True, eq=False)
class Person:
    """
    A profile.

    Attributes:
        cio_id: The identifier that Customer.io gives and never changes.
        identifiers: id, email, phone and anonymous_id, those that are known.
        identified: False for a stranger.
        moments: The newest of their timeline, as many as `People` keeps of each.
        changed_at: Unix seconds of the newest attribute change; an older one is skipped.
        linked_at: When its anonymous id was linked, in Unix seconds.
        past: The newest changes of its attributes.
        seen: Rows about it, of which so many were lost and so many stored with warnings.
        last_seen: When the newest of them arrived, in Unix seconds; `last_verdict` is what became of it, and
            `last_name` its name, or its kind when it has none.
    """

    cio_id: str
    identifiers: dict[str, str] = field(default_factory=dict)
    identified: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    relationships: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    segments: set[str] = field(default_factory=set)
    moments: deque[Moment] = field(default_factory=deque)
    merged: list[str] = field(default_factory=list)
    changed_at: float = float("-inf")
    linked_at: float | None = None
    past: deque[Past] = field(default_factory=deque)
    seen: int = 0
    lost: int = 0
    warned: int = 0
    last_seen: float | None = None
    last_verdict: str | None = None
    last_name: str | None = None

    @property
    def key(self) -> str:
        """What the person is called: their id, else their email, phone, cio_id or anonymous id."""
        named = {**self.identifiers, "cio_id": self.cio_id} if self.identified else self.identifiers
        return next((named[kind] for kind in NAMED_BY if kind in named), self.cio_id)

    def change(self, given: dict[str, Any], at: float, seq: int) -> None:
        """Set attributes, and remember what each was; None and the empty text end one."""
        for name, value in given.items():
            value = None if value == "" else value  # noqa: PLW2901
            if value == self.attributes.get(name) and type(value) is type(self.attributes.get(name)):
                continue
            self.past.append(Past(seq, at, name, value))
            if value is None:
                self.attributes.pop(name, None)
            else:
                self.attributes[name] = value

    def met(self, verdict: str, name: str, at: float, *, again: bool, good: bool | None, warned: bool) -> None:
        """Count a row about this person, unless it takes the place of one that was counted."""
        self.seen = max(self.seen + (not again), 1)  # the attempt before may have named nobody yet
        self.lost += good is False
        self.warned += warned
        self.last_seen, self.last_verdict, self.last_name = at, verdict, name

    def line(self) -> dict[str, Any]:
        """Return what a list of people shows."""
        return {
            "key": self.key,
            "cio_id": self.cio_id,
            "identified": self.identified,
            "identifiers": dict(self.identifiers),
            "seen": self.seen,
            "lost": self.lost,
            "warned": self.warned,
            "last_seen": self.last_seen,
            "last_verdict": self.last_verdict,
            "last_name": self.last_name,
        }

    def document(self) -> dict[str, Any]:
        """Return the profile as it appears in the control API."""
        return {
            **self.line(),
            "attributes": dict(self.attributes),
            "devices": list(self.devices.values()),
            "relationships": list(self.relationships.values()),
            "segments": sorted(self.segments),
            "events": [moment.document() for moment in self.moments],
            "merged": list(self.merged),
        }


class People:
    """
    The profiles of one workspace, found by any of their identifiers.

    Args:
        count: Profiles at most, and as many suppressed identifiers: `trim` lets the oldest go.
        moments: Entries at most in the timeline of each; the oldest goes first.
    """

    def __init__(self, count: int, moments: int) -> None:
        self._by_cio_id: OrderedDict[str, Person] = OrderedDict()
        self._index: dict[tuple[str, str], Person] = {}
        self._suppressed: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._count = count
        self._moments = moments
        self._minted = 0
        self._touched: set[str] = set()
        self.evicted = 0

    def __iter__(self) -> Iterator[Person]:
        return iter(self._by_cio_id.values())

    def __len__(self) -> int:
        return sum(person.identified for person in self)

    @property
    def anybody(self) -> bool:
        """True when there is a profile, of a stranger even, or an identifier that is suppressed."""
        return bool(self._by_cio_id or self._suppressed)

    def adopt(self, person: Person) -> None:
        """
        Take in a profile as it is, its timeline cut to what is kept of each.

        Raises:
            ValueError: when one of its identifiers leads to somebody else already.
        """
        entries = [_entry(kind, value) for kind, value in person.identifiers.items()]
        if person.cio_id in self._by_cio_id or any(entry in self._index for entry in entries):
            raise ValueError(f"{person.key!r:.80} is there twice")
        person.moments = deque(person.moments, self._moments)
        person.past = deque(person.past, self._moments)
        self._by_cio_id[person.cio_id] = person
        self._index.update(dict.fromkeys(entries, person))
        # Only what this sandbox gave is a number to go on from.
        if _OWN_CIO_ID.fullmatch(person.cio_id):
            self._minted = max(self._minted, int(person.cio_id, 16) - _FIRST_CIO_ID)

    @property
    def suppressions(self) -> Iterator[tuple[str, str]]:
        """The identifiers whose calls are ignored, as (kind, value), the oldest first."""
        return iter(self._suppressed)

    def find(self, kind: str, value: str) -> Person | None:
        """Return the profile that an identifier leads to; an email is matched in any case."""
        person = self._by_cio_id.get(value) if kind == "cio_id" else self._index.get(_entry(kind, value))
        if person is not None:
            self._touched.add(person.cio_id)
        return person

    def take_touched(self) -> set[str]:
        """Return the cio_ids of those who were looked up or met since the last time, and so may have changed."""
        touched, self._touched = self._touched, set()
        return touched

    def called(self, key: str) -> Person | None:
        """Return the profile that any kind of identifier with this value leads to."""
        return next((person for kind in NAMED_BY if (person := self.find(kind, key))), None)

    def meet(self, kind: str, value: str) -> Person:
        """Return the profile of an identifier, a new stranger if there is none."""
        person = self.find(kind, value)
        if person is None:
            self._minted += 1
            person = Person(
                f"{_FIRST_CIO_ID + self._minted:08x}",
                moments=deque(maxlen=self._moments),
                past=deque(maxlen=self._moments),
            )
            self._by_cio_id[person.cio_id] = person
            self._touched.add(person.cio_id)
            self.claim(person, kind, value)
        return person

    def claim(self, person: Person, kind: str, value: str) -> None:
        """Make an identifier lead to this person, and the one it replaces to nobody."""
        former = person.identifiers.get(kind)
        if former is not None:
            self._index.pop(_entry(kind, former), None)
        person.identifiers[kind] = value
        self._index[_entry(kind, value)] = person

    def forget(self, person: Person) -> None:
        """Delete a profile; its identifiers are free again."""
        self._by_cio_id.pop(person.cio_id, None)
        for kind, value in person.identifiers.items():
            self._index.pop(_entry(kind, value), None)

    def trim(self) -> None:
        """Let the oldest profiles and suppressions go, until there are not too many."""
        while len(self._by_cio_id) > self._count:
            self.forget(next(iter(self._by_cio_id.values())))
            self.evicted += 1
        trim(self._suppressed, self._count)

    def absorb(self, primary: Person, secondary: Person) -> None:
        """Move what the secondary has and the primary lacks, then delete the secondary."""
        primary.attributes = {**secondary.attributes, **primary.attributes}
        past = sorted([*primary.past, *secondary.past], key=lambda change: change.seq)
        primary.past = deque(past, primary.past.maxlen)
        primary.seen, primary.lost = primary.seen + secondary.seen, primary.lost + secondary.lost
        primary.warned += secondary.warned
        primary.devices = {**secondary.devices, **primary.devices}
        primary.relationships = {**secondary.relationships, **primary.relationships}
        primary.segments |= secondary.segments
        moments = sorted([*primary.moments, *secondary.moments], key=lambda moment: moment.seq)
        primary.moments = deque(moments, primary.moments.maxlen)
        primary.merged += [*secondary.identifiers.values(), *secondary.merged]
        self.forget(secondary)

    def suppress(self, kind: str, value: str) -> None:
        """Delete a profile and block its id and its email, known or not."""
        person = self.find(kind, value)
        blocked = {_entry(kind, value)}
        if person is not None:
            blocked |= {
                _entry(named, person.identifiers[named]) for named in ("id", "email") if named in person.identifiers
            }
            self.forget(person)
        self._suppressed.update(dict.fromkeys(blocked))

    def block(self, kind: str, value: str) -> None:
        """Block one identifier, and look for no profile."""
        self._suppressed[_entry(kind, value)] = None

    def unsuppress(self, kind: str, value: str) -> None:
        """Free an identifier; what was deleted stays deleted."""
        self._suppressed.pop(_entry(kind, value), None)

    def suppressed(self, kind: str, value: str) -> bool:
        """Return True when calls for this identifier are ignored."""
        return _entry(kind, value) in self._suppressed


def _entry(kind: str, value: str) -> tuple[str, str]:
    return (kind, value.lower() if kind == "email" else value)
