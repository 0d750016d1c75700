"""
What a workspace remembers to give advice: names, types of attributes, who was told to wait. All of it has an end.

A `Lesson` is what it knows about one operation, as a value, so that each piece of advice stays one question.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.ring import trim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cio_middleware.sandbox.operations import Operation
    from cio_middleware.sandbox.people import People, Person

NAMES = 50
"""Names of events that may begin alike."""
BEGINNINGS = 1000
"""Beginnings of names that are remembered."""
ATTRIBUTES = 10_000
"""Attributes whose type is remembered."""
WAITING = 100_000
"""Operations that were refused by a fault, and people who were identified, that are remembered."""

SKEW_S = 0.1
"""Two clocks that do not quite agree."""

_BEGINNING = re.compile(r"[^\W\d_]*")
_TYPES = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Earlier:
    """
    What was known of a person before an identify was applied.

    Attributes:
        changed: When they were identified last, in Unix seconds.
        updated_at: Their `_updated_at`, with which clients stamp what they send.
    """

    changed: float | None = None
    updated_at: Any = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """
    What the workspace knows about one operation that was applied.

    Attributes:
        beginning: How its name begins, when more than `NAMES` others begin like that; else None.
        drift: An attribute, the type that it had, and the type that it has now.
        email_missing: True for an identify after which the person has no email, where others have one.
        id_is_email: The id, when it is an email and the person has another one.
        early: The seconds that an answer asked to wait, and those after which the next attempt came too soon.
        overtaken: True for an identify without a time that is older than what it overwrote.
        registered: False for a name that is not in the registry; None without a registry.
    """

    beginning: str | None = None
    drift: tuple[str, str, str] | None = None
    email_missing: bool = False
    id_is_email: str | None = None
    early: tuple[float, float] | None = None
    overtaken: bool = False
    registered: bool | None = None


NOTHING = Lesson()
"""What is known where nothing is remembered."""


class Lessons:
    """
    What one workspace remembers.

    Args:
        registry: Names of events that are known, with ``*`` and ``?``; None means that any is.
    """

    def __init__(self, registry: Iterable[str] | None = None) -> None:
        self._registry = None if registry is None else frozenset(registry)
        self._names: OrderedDict[str, set[str]] = OrderedDict()
        self._types: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._refused: OrderedDict[str | bytes, _Refused] = OrderedDict()
        self._changed: OrderedDict[str, float] = OrderedDict()
        self._emails_seen = False

    @property
    def waits(self) -> bool:
        """True when an operation is remembered that a fault refused."""
        return bool(self._refused)

    def before(self, op: Operation, people: People) -> Earlier:
        """Look at a person before an identify is applied."""
        if op.subject != "person" or op.kind != "identify" or not op.identifiers:
            return Earlier()
        person = people.find(*next(iter(op.identifiers.items())))
        if person is None:
            return Earlier()
        return Earlier(self._changed.get(person.cio_id), person.attributes.get("_updated_at"))

    def refused(self, key: str | bytes, at: float, wait: float | None) -> None:
        """Remember that a fault refused an operation at a time, and how many seconds it asked to wait."""
        known = self._refused.pop(key, None)
        first, early = (known.first, known.early(at)) if known else (at, None)
        self._refused[key] = _Refused(first, at, wait, early)
        trim(self._refused, WAITING)

    def learn(
        self, op: Operation, earlier: Earlier, person: Person | None, now: float, key: str | bytes | None
    ) -> Lesson:
        """
        Remember an operation that was applied, and return what is known about it.

        Args:
            op: The operation.
            earlier: What `before` said.
            person: Whom it went to, as they are now.
            now: When it came, in Unix seconds.
            key: What tells it when it comes again; None is enough while nothing `waits`.
        """
        refused = self._refused.pop(key, None) if key is not None else None
        identifies = op.subject == "person" and op.kind == "identify" and person is not None and person.identified
        email_missing = id_is_email = None
        if identifies and person is not None:
            email_missing, id_is_email = self._emails(op, person)
            self._changed.pop(person.cio_id, None)
            self._changed[person.cio_id] = now
            trim(self._changed, WAITING)
        named = op.subject == "person" and op.kind == "event" and isinstance(op.name, str)
        name = op.name.strip() if named else ""
        return Lesson(
            beginning=self._crowd(name) if named else None,
            drift=self._drift(op) if op.kind == "identify" and isinstance(op.attributes, dict) else None,
            email_missing=bool(email_missing),
            id_is_email=id_is_email,
            early=refused.early(now) if refused else None,
            overtaken=op.kind == "identify" and op.timestamp is None and _overtaken(op, earlier, refused),
            registered=self._registered(name) if named else None,
        )

    def _crowd(self, name: str) -> str | None:
        found = _BEGINNING.match(name)
        beginning = found[0] if found else ""
        names = self._names.setdefault(beginning, set())
        trim(self._names, BEGINNINGS)
        if name not in names and len(names) >= NAMES:
            return beginning
        names.add(name)
        return None

    def _drift(self, op: Operation) -> tuple[str, str, str] | None:
        drift: tuple[str, str, str] | None = None
        for attribute, value in op.attributes.items():
            kind = _TYPES.get(type(value))
            if kind is None or value == "":  # null and an empty text delete, whatever the type is
                continue
            was = self._types.setdefault((op.subject, attribute), kind)
            if was != kind and drift is None:
                drift = (attribute, was, kind)
        trim(self._types, ATTRIBUTES)
        return drift

    def _emails(self, op: Operation, person: Person) -> tuple[bool, str | None]:
        email = person.identifiers.get("email") or person.attributes.get("email")
        missing = not email and self._emails_seen
        self._emails_seen = self._emails_seen or bool(email)
        stated, own = op.attributes.get("email"), person.identifiers.get("id")
        differs = own is not None and "@" in own and isinstance(stated, str) and stated.lower() != own.lower()
        return missing, own if differs and stated else None

    def _registered(self, name: str) -> bool | None:
        if self._registry is None:
            return None
        return any(fnmatchcase(name, pattern) for pattern in self._registry)


@dataclass(frozen=True, slots=True)
class _Refused:
    """An operation that a fault refused: when first and last, how long it was to wait, and whether it came too soon."""

    first: float
    last: float
    wait: float | None
    came_early: tuple[float, float] | None

    def early(self, at: float) -> tuple[float, float] | None:
        """Return what was asked and what came, for an attempt now or one before; None when none was early."""
        came = at - self.last
        if self.wait is not None and came < self.wait - SKEW_S:
            return self.wait, came
        return self.came_early


def _overtaken(op: Operation, earlier: Earlier, refused: _Refused | None) -> bool:
    if refused is not None and earlier.changed is not None and earlier.changed > refused.first:
        return True
    stamp = op.attributes.get("_updated_at") if isinstance(op.attributes, dict) else None
    before = earlier.updated_at
    return isinstance(stamp, int | float) and isinstance(before, int | float) and bool(stamp < before)
