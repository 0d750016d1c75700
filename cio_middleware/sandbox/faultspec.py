"""
Read faults as people write them: steps such as ``429;retry_after=1``, and rules as JSON.

An error names the place and what may be typed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.faults import ACTS, Act, Match, Rule, Script, When

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STEPS = (
    "ok", "503", "429;retry_after=1", "latency=50", "hang", "reset", "reset=after_headers", "reset=mid_body",
    "ack_lost", "partial=0,2", "html", "redirect=https://example.test",
)  # fmt: skip
CUTS = ("before_reply", "after_headers", "mid_body")
MODES = ("always", "first", "after", "every", "chance")
HTML = "<!doctype html><title>502 Bad Gateway</title><h1>A proxy answered, and not Customer.io</h1>"


class BadFault(ValueError):
    """A fault that cannot be read; the message says what is wrong and what to type."""


def script(steps: Sequence[str], match: Any = None) -> Script:
    """
    Read a script.

    Args:
        steps: One step for each matching request; a last step that ends with ``*`` repeats.
        match: The JSON of a match; None means every request.

    Raises:
        BadFault: naming the step.
    """
    if not isinstance(steps, list | tuple) or not steps or not all(isinstance(step, str) for step in steps):
        raise BadFault('a script is a list of steps. Type: {"steps": ["429;retry_after=1", "ok*"]}')
    acts: list[Act] = []
    for number, step in enumerate(steps, 1):
        if step.endswith("*") and number < len(steps):
            raise BadFault(f'step {number} "{step}": only the last step repeats with *')
        acts.append(_step(number, step.removesuffix("*").strip()))
    return Script(tuple(acts), _match(match), steps[-1].endswith("*"), tuple(steps))


def rule(given: Any, rule_id: str = "") -> Rule:
    """
    Read a rule from its JSON.

    Args:
        given: ``{"match": …, "when": …, "do": …}``.
        rule_id: The id in the address, which wins over one in the body.

    Raises:
        BadFault: naming the member.
    """
    example = '{"when": {"mode": "first", "n": 2}, "do": {"type": "status", "status": 429}}'
    if not isinstance(given, dict) or not isinstance(given.get("do"), dict):
        raise BadFault(f"a rule is an object with a `do`. Type: {example}")
    _only(given, ("id", "label", "enabled", "match", "when", "do", "seen", "hits"), "rule")
    do = _act(given["do"])
    enabled = given.get("enabled", True) is not False
    return Rule(
        rule_id or str(given.get("id") or ""),
        do,
        _match(given.get("match")),
        _when(given.get("when")),
        str(given.get("label") or ""),
        enabled,
    )


def _step(number: int, step: str) -> Act:
    head, *options = step.split(";")
    name, _, value = head.partition("=")
    try:
        if name.isdigit():
            return _status(int(name), options)
        if options:
            raise BadFault("only a status takes options, as in 429;retry_after=1")
        return _NAMED[name](value)
    except KeyError:
        raise BadFault(
            f'step {number} "{step}" is unknown. Known steps: {", ".join(STEPS)}; the last may end with *'
        ) from None
    except ValueError as error:
        raise BadFault(f'step {number} "{step}": {error}. Known steps: {", ".join(STEPS)}') from error


def _status(status: int, options: list[str]) -> Act:
    headers: dict[str, str] = {}
    for option in options:
        name, _, value = option.partition("=")
        if name != "retry_after" or not value:
            raise BadFault(f'"{option}" is no option of a status; retry_after=<seconds or date> is')
        headers["Retry-After"] = value
    return _checked(Act("status", status=status, headers=headers))


def _plain(kind: str) -> Callable[[str], Act]:
    def build(value: str) -> Act:
        if value:
            raise BadFault(f"{kind} takes no value")
        return Act(kind)

    return build


_NAMED: dict[str, Callable[[str], Act]] = {
    "ok": _plain("ok"),
    "hang": _plain("hang"),
    "ack_lost": _plain("ack_lost"),
    "html": lambda value: Act("garbage", status=int(value or 200), body=HTML),
    "latency": lambda value: _checked(Act("latency", ms=float(value))),
    "reset": lambda value: _checked(Act("reset", at=value or "before_reply")),
    "partial": lambda value: _checked(Act("partial", indexes=tuple(int(index) for index in value.split(",")))),
    "redirect": lambda value: _checked(Act("redirect", status=307, to=value)),
}


def _act(given: dict[str, Any]) -> Act:
    kind = given.get("type")
    if kind not in ACTS:
        raise BadFault(f"do.type is {kind!r}. Type one of: {', '.join(ACTS)}")
    _only(given, ACTS[kind], f"do of {kind}")
    members = {"status": {"garbage": 200, "redirect": 307}.get(kind, 503), **given}
    if kind == "garbage":
        members.setdefault("body", HTML)
    try:
        members["indexes"] = tuple(int(index) for index in members.get("indexes", ()))
        return _checked(Act(**members))
    except TypeError as error:
        raise BadFault(f"do of {kind}: {error}") from error


def _checked(act: Act) -> Act:
    if not isinstance(act.status, int) or not 200 <= act.status <= 599:
        raise BadFault(f"status {act.status} is no final status. Type one from 200 to 599")
    if act.type == "latency" and not (math.isfinite(act.ms) and 0 <= act.ms <= 60_000 and 0 <= act.jitter_ms <= 60_000):
        raise BadFault("a latency is 0 to 60000 milliseconds")
    if act.at not in CUTS:
        raise BadFault(f"reset cuts at {', '.join(CUTS)}, not at {act.at!r}")
    if act.type == "partial" and (not act.indexes or min(act.indexes) < 0):
        raise BadFault("partial names the items to refuse, counted from 0, as in partial=0,2")
    if act.type == "redirect" and not act.to.startswith(("http://", "https://")):
        raise BadFault("redirect names a base, as in redirect=https://example.test")
    return act


def _match(given: Any) -> Match:
    if given is None:
        return Match()
    if not isinstance(given, dict):
        raise BadFault('match is an object. Type: {"endpoint": "track.v2.*", "name": "order_*", "person": "ada"}')
    _only(given, ("endpoint", "name", "person", "workspace"), "match")
    return Match(given.get("endpoint"), given.get("name"), given.get("person"))


def _when(given: Any) -> When:
    if given is None:
        return When()
    if not isinstance(given, dict) or given.get("mode", "always") not in MODES:
        raise BadFault(f'when.mode is one of {", ".join(MODES)}. Type: {{"mode": "first", "n": 2}}')
    _only(given, ("mode", "n", "p", "seed"), "when")
    when = When(**given)
    if not isinstance(when.n, int) or when.n < 1:
        raise BadFault(f"when.n is {when.n!r}. Type a whole number of at least 1")
    if not isinstance(when.p, int | float) or not 0 <= when.p <= 1:
        raise BadFault(f"when.p is {when.p!r}. Type a chance between 0 and 1")
    return when


def _only(given: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in known:
            raise BadFault(f"a {what} has no {name!r}. Known: {', '.join(known)}")
