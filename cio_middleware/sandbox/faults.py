"""
Which fault, if any, answers a request: rules and scripts, decided without touching a socket.

A script is a list of steps, one for each request that it matches; while it has steps it goes before the
rules, and people whose id is a fault come in between. Rules are asked in order, the first hit answers, and
latency adds up on the way. Chance is seeded and the clock is handed in, so that the same run happens twice.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox import magic
from cio_middleware.sandbox.gates import Bucket, is_down, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True, slots=True)
class Act:
    """
    What a fault does.

    Attributes:
        type: One of `ACTS`.
        status: What is answered; by ``flap`` and ``rate_limit``, when they refuse.
        headers: More headers of the answer.
        body: The body of ``status`` and ``garbage``; None writes the envelope of the API, or nothing where the
            status has no body.
        content_type: What ``garbage`` calls itself.
        date_s: ``status`` adds a Retry-After: the date so many seconds from the answer. None adds none.
        hint: How ``rate_limit`` says when to come back: ``none``, ``seconds`` or ``date``.
        rate: Requests a second of ``rate_limit``.
        burst: Requests that it lets through at once.
        up_s: Seconds for which ``flap`` lets everything through.
        down_s: Seconds for which it then refuses.
        ms: Milliseconds of ``latency``.
        jitter_ms: Up to so many more, seeded.
        at: Where ``reset`` cuts: ``before_reply`` (nothing is stored), ``after_headers`` or ``mid_body``
            (everything is).
        indexes: The items that ``partial`` refuses, by their place.
        items: Those that it refuses by what they say: patterns for ``name``, ``person`` and ``kind``.
        to: The base of ``redirect``.
    """

    type: str
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    ms: float = 0.0
    jitter_ms: float = 0.0
    at: str = "before_reply"
    indexes: tuple[int, ...] = ()
    items: dict[str, str] = field(default_factory=dict)
    to: str = ""
    content_type: str = "text/html; charset=utf-8"
    date_s: float | None = None
    hint: str = "none"
    rate: float = 10.0
    burst: int = 10
    up_s: float = 10.0
    down_s: float = 10.0

    @property
    def stores(self) -> bool:
        """True when the operations of the request are applied all the same."""
        late_cut = self.type == "reset" and self.at != "before_reply"
        return late_cut or self.type in {"ok", "latency", "partial", "ack_lost"}

    def refuses(self, index: int, said: dict[str, list[str]]) -> bool:
        """Return True for an item that ``partial`` refuses, by its place or by what it says under each pattern."""
        matching = bool(self.items) and all(
            any(fnmatchcase(value, pattern) for value in said[name]) for name, pattern in self.items.items()
        )
        return index in self.indexes or matching


OK = Act("ok")

MAGIC = "magic person"
"""What a decision names as the fault when it is the person who asks for it."""

BODILESS = frozenset({204, 205, 304})
"""Final statuses of an answer that has no body."""

RULES = 1000
"""Rules of one workspace at most; each request asks all of them."""


class TooManyRules(ValueError):
    """There are `RULES` rules; the message says what to type."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a rule is about; each pattern may hold ``*`` and ``?``, and None means any."""

    endpoint: str | None = None
    name: str | None = None
    person: str | None = None

    def takes(self, endpoint: str, names: Iterable[str], people: Iterable[str]) -> bool:
        """Return True when the request is one of those."""
        return (
            (self.endpoint is None or fnmatchcase(endpoint, self.endpoint))
            and (self.name is None or any(fnmatchcase(name, self.name) for name in names))
            and (self.person is None or any(fnmatchcase(person, self.person) for person in people))
        )


@dataclass(frozen=True, slots=True)
class When:
    """
    Which of the matching requests are hit.

    Attributes:
        mode: ``always``; the ``first`` n; all ``after`` n; ``every`` n-th; or by ``chance`` p.
        seed: Where chance begins; the same seed gives the same sequence.
        for_s: The rule ends so many seconds after it was put; None means never.
    """

    mode: str = "always"
    n: int = 1
    p: float = 1.0
    seed: int = 0
    for_s: float | None = None

    def hits(self, nth: int, dice: float) -> bool:
        """Decide for the nth matching request, counted from 1; `dice` is between 0 and 1."""
        return {
            "always": True,
            "first": nth <= self.n,
            "after": nth > self.n,
            "every": nth % self.n == 0,
            "chance": dice < self.p,
        }[self.mode]


@dataclass(frozen=True, slots=True)
class Rule:
    """For requests that match, at some times, do something."""

    id: str
    do: Act
    match: Match = field(default_factory=Match)
    when: When = field(default_factory=When)
    label: str = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Script:
    """Steps for successive matching requests; when `repeats`, the last one stays."""

    steps: tuple[Act, ...]
    match: Match = field(default_factory=Match)
    repeats: bool = False
    text: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The fault that answers, the milliseconds to wait first, and the id of the rule that said so."""

    act: Act = OK
    delay_ms: float = 0.0
    fault: str | None = None


class _Armed:
    """A rule with its counters, its dice and its clock."""

    def __init__(self, rule: Rule, now: float) -> None:
        self.rule = rule
        self.seen = 0
        self.hits = 0
        self.dice = random.Random(rule.when.seed)  # noqa: S311  # reproducible on purpose
        self.since = now
        self.bucket = Bucket(rule.do.rate, rule.do.burst, now)

    @property
    def ends_at(self) -> float | None:
        """When the rule's time is up, in Unix seconds; None for one that stays."""
        return None if self.rule.when.for_s is None else self.since + self.rule.when.for_s

    def over(self, now: float) -> bool:
        """True when the rule's time is up."""
        return self.rule.when.for_s is not None and now - self.since >= self.rule.when.for_s

    def act(self, now: float) -> Act | None:
        """Return what the rule does to a request that it hits now; None when it lets it pass."""
        do = self.rule.do
        if do.type == "flap":
            return do if is_down(do.up_s, do.down_s, now - self.since) else None
        if do.type == "rate_limit":
            wait = self.bucket.take(now)
            return replace(do, headers={**do.headers, **retry_after(do.hint, wait, now)}) if wait else None
        return do


class Faults:
    """
    The faults of one workspace.

    Args:
        clock: Unix seconds, for rules that go by the time.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._magic = magic.Magic()
        self._rules: dict[str, _Armed] = {}
        self._script: Script | None = None
        self._step = 0
        self._numbered = 0

    def put(self, rule: Rule) -> Rule:
        """
        Add a rule at the end, or in place of the one with its id; an empty id gets one.

        Raises:
            TooManyRules: for one more than `RULES`.
        """
        if len(self._rules) >= RULES and rule.id not in self._rules:
            raise TooManyRules(f"there are {RULES} fault rules. Type: DELETE /_sandbox/v1/faults")
        if not rule.id:
            self._numbered += 1
            rule = replace(rule, id=f"fault-{self._numbered}")
        self._rules[rule.id] = _Armed(rule, self._clock())
        return rule

    def ids(self) -> list[str]:
        """Return the ids of the rules, in their order."""
        return list(self._rules)

    def drop(self, rule_id: str) -> bool:
        """Remove a rule; False when there is none with that id."""
        return self._rules.pop(rule_id, None) is not None

    def play(self, script: Script) -> None:
        """Start a script from its first step, in place of the one before."""
        self._script, self._step = script, 0

    @property
    def none_set(self) -> bool:
        """True when there is neither a rule nor a script."""
        return not self._rules and self._script is None

    def clear(self) -> None:
        """Remove everything."""
        self._magic.clear()
        self._rules.clear()
        self._script = None

    def decide(self, endpoint: str, names: list[str], people: list[str]) -> Decision:
        """Say what happens to a request; counters, dice and buckets move on."""
        now = self._clock()
        decision = self._decided(endpoint, names, people, now)
        act = decision.act
        if act.date_s is None:
            return decision
        return replace(decision, act=replace(act, headers={**act.headers, **retry_after("date", act.date_s, now)}))

    def _decided(self, endpoint: str, names: list[str], people: list[str], now: float) -> Decision:
        scripted = self._scripted(endpoint, names, people)
        if scripted is not None and scripted.type != "latency":
            return Decision(scripted, fault=None if scripted.type == "ok" else "script")
        if scripted is not None:
            return Decision(delay_ms=scripted.ms, fault="script")
        delay = magic.delay_ms(people)
        slowed = MAGIC if delay else None
        asked = self._magic.step(people)
        if asked is not None:
            return Decision(Act("status", status=int(asked)) if asked.isdigit() else Act(asked), delay, MAGIC)
        for armed in self._rules.values():
            if armed.over(now) or not (armed.rule.enabled and armed.rule.match.takes(endpoint, names, people)):
                continue
            armed.seen += 1
            if not armed.rule.when.hits(armed.seen, armed.dice.random()):
                continue
            act = armed.act(now)
            if act is None:
                continue
            armed.hits += 1
            if act.type != "latency":
                return Decision(act, delay, armed.rule.id)
            delay += act.ms + armed.dice.random() * act.jitter_ms
            slowed = armed.rule.id
        return Decision(delay_ms=delay, fault=slowed)

    def _scripted(self, endpoint: str, names: list[str], people: list[str]) -> Act | None:
        script = self._script
        if script is None or not script.match.takes(endpoint, names, people):
            return None
        if self._step >= len(script.steps):
            return script.steps[-1] if script.repeats else None
        self._step += 1
        return script.steps[self._step - 1]

    def label(self, rule_id: str | None) -> str:
        """Return the label of a rule; nothing when it has none, or is none."""
        armed = self._rules.get(rule_id or "")
        return armed.rule.label if armed else ""

    def document(self) -> dict[str, Any]:
        """Return rules and script as they appear in the control API."""
        script, now = self._script, self._clock()
        return {
            "rules": [
                {
                    **describe(armed.rule),
                    "seen": armed.seen,
                    "hits": armed.hits,
                    "over": armed.over(now),
                    "ends_at": armed.ends_at,
                }
                for armed in self._rules.values()
            ],
            "script": script and {"steps": list(script.text), "taken": self._step},
        }


def describe(rule: Rule) -> dict[str, Any]:
    """Return a rule as JSON, in the shape in which `faultspec.rule` reads it."""
    do, when, match = rule.do, rule.when, rule.match
    return {
        "id": rule.id,
        "label": rule.label,
        "enabled": rule.enabled,
        "match": {"endpoint": match.endpoint, "name": match.name, "person": match.person},
        "when": {"mode": when.mode, "n": when.n, "p": when.p, "seed": when.seed, "for_s": when.for_s},
        "do": {
            name: list(value) if isinstance(value, tuple) else value
            for name in ACTS[do.type]
            if (value := getattr(do, name)) is not None
        },
    }


ACTS: dict[str, tuple[str, ...]] = {
    "ok": ("type",),
    "status": ("type", "status", "headers", "body", "date_s"),
    "latency": ("type", "ms", "jitter_ms"),
    "hang": ("type",),
    "reset": ("type", "at"),
    "partial": ("type", "indexes", "items"),
    "ack_lost": ("type",),
    "blackhole": ("type",),
    "garbage": ("type", "status", "body", "content_type"),
    "redirect": ("type", "status", "to"),
    "flap": ("type", "up_s", "down_s", "status"),
    "rate_limit": ("type", "rate", "burst", "hint", "headers"),
}
"""Every kind of act, and what may be said about it."""
