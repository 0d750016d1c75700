"""
Read faults as people write them: steps such as ``429;retry_after=1``, and rules as JSON.

An error names the place and what may be typed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.faults import ACTS, BODILESS, Act, Match, Rule, Script, When

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STEPS = (
    "ok", "503", "429;retry_after=1", "latency=50", "hang", "reset", "reset=after_headers", "reset=mid_body",
    "ack_lost", "partial=0,2", "partial=order_placed", "blackhole", "html", "cut_json", "redirect=https://example.test",
    "301;to=https://example.test", "429;retry_date=2",
)  # fmt: skip
DAY = 86_400
CUTS = ("before_reply", "after_headers", "mid_body")
MODES = ("always", "first", "after", "every", "chance")
HTML = "<!doctype html><title>502 Bad Gateway</title><h1>A proxy answered, and not Customer.io</h1>"

CUT_JSON = '{"errors":[{"batch_index":0,"reason":"inv'
"""What arrives when a proxy drops the rest of an answer."""
HINTS = ("none", "seconds", "date")
REDIRECTS = frozenset({301, 302, 307, 308})

NAME_CHARS = 200
"""Characters of a rule's id and of its label at most."""

EXAMPLE = '{"when": {"mode": "first", "n": 2}, "do": {"type": "status", "status": 429}}'
SCRIPT_EXAMPLE = '{"steps": ["429;retry_after=1", "ok*"]}'

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD = re.compile(r"(?:[\x21-\x7e\xa0-\xff](?:[\t\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?)?")
_BASE = re.compile(r"https?://[\x21-\x7e]+")
_FRAMING = frozenset({"content-length", "transfer-encoding"})


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
        raise BadFault(f"a script is a list of steps. Type: {SCRIPT_EXAMPLE}")
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
    if not isinstance(given, dict) or not isinstance(given.get("do"), dict):
        raise BadFault(f"a rule is an object with a `do`. Type: {EXAMPLE}")
    _only(given, ("id", "label", "enabled", "match", "when", "do", "seen", "hits", "over", "ends_at"), "rule")
    do = _act(given["do"])
    enabled = given.get("enabled", True) is not False
    return Rule(
        _named("id", rule_id or given.get("id")),
        do,
        _match(given.get("match")),
        _when(given.get("when")),
        _named("label", given.get("label")),
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
    act = Act("status", status=status)
    for option in options:
        name, _, value = option.partition("=")
        if name == "retry_after" and value:
            act = replace(act, headers={"Retry-After": value})
        elif name == "retry_date" and value:
            act = replace(act, date_s=float(value))
        elif name == "to" and value:
            act = replace(act, type="redirect", to=value)
        else:
            known = "retry_after=<seconds or date>, retry_date=<seconds from now> and to=<base> are"
            raise BadFault(f'"{option}" is no option of a status; {known}')
    return _checked(act)


def _partial(value: str) -> Act:
    if any(character.isalpha() for character in value):
        return Act("partial", items={"name": value})
    return Act("partial", indexes=tuple(int(index) for index in value.split(",")))


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
    "blackhole": _plain("blackhole"),
    "cut_json": lambda value: _checked(
        Act("garbage", status=int(value or 200), body=CUT_JSON, content_type="application/json")
    ),
    "html": lambda value: _checked(Act("garbage", status=int(value or 200), body=HTML)),
    "latency": lambda value: _checked(Act("latency", ms=float(value))),
    "reset": lambda value: _checked(Act("reset", at=value or "before_reply")),
    "partial": lambda value: _checked(_partial(value)),
    "redirect": lambda value: _checked(Act("redirect", status=307, to=value)),
}


def _act(given: dict[str, Any]) -> Act:
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in ACTS:
        raise BadFault(f"do.type is {kind!r:.80}. Type one of: {', '.join(ACTS)}")
    _only(given, ACTS[kind], f"do of {kind}")
    for name, value in given.items():
        types, what = _MEMBERS[name]
        if isinstance(value, bool) or not isinstance(value, types):
            raise BadFault(f"{name} of {kind} is {value!r:.80}. Type {what}")
    members = {"status": {"garbage": 200, "redirect": 307, "rate_limit": 429}.get(kind, 503), **given}
    if kind == "garbage":
        members.setdefault("body", HTML)
    indexes = members.get("indexes", [])
    if not all(isinstance(index, int) for index in indexes):
        raise BadFault(f"indexes of {kind} is {indexes!r:.80}. Type {_MEMBERS['indexes'][1]}")
    return _checked(Act(**{**members, "indexes": tuple(indexes)}))


_MEMBERS: dict[str, tuple[Any, str]] = {
    "type": (str, "one of the known acts"),
    "status": (int, "a status from 200 to 599"),
    "headers": (dict, 'an object of texts, as in {"Retry-After": "1"}'),
    "body": (str | None, "a text"),
    "ms": (int | float, "milliseconds from 0 to 60000"),
    "jitter_ms": (int | float, "milliseconds from 0 to 60000"),
    "at": (str, f"one of {', '.join(CUTS)}"),
    "indexes": (list, "the places of the items to refuse, counted from 0, as in [0, 2]"),
    "items": (dict, 'patterns of what they say, as in {"name": "order_*"}'),
    "to": (str, "a base, as in https://example.test"),
    "content_type": (str, "a media type, as in application/json"),
    "date_s": (int | float | None, "seconds from 0 to 86400"),
    "hint": (str, f"one of {', '.join(HINTS)}"),
    "rate": (int | float, "requests a second, more than 0 and at most 100000"),
    "burst": (int, "a whole number of requests, from 1 to 100000"),
    "up_s": (int | float, "seconds from 0 to 86400, not both 0"),
    "down_s": (int | float, "seconds from 0 to 86400, not both 0"),
}
"""The type of each member of an act, and what may be typed instead of another."""


def _checked(act: Act) -> Act:
    if not 200 <= act.status <= 599:
        raise BadFault(f"status {act.status:d} is no final status. Type one from 200 to 599")
    if act.body and act.status in BODILESS:
        raise BadFault(f"a {act.status} has no body. Leave the body out, or type a status such as 503")
    if act.body is not None and not _encodes(act.body):
        raise BadFault("body holds half a surrogate pair, which is no UTF-8. Type whole characters")
    for name, value in act.headers.items():
        _check_header(name, value)
    if act.type == "latency" and not (0 <= act.ms <= 60_000 and 0 <= act.jitter_ms <= 60_000):
        raise BadFault("a latency is 0 to 60000 milliseconds")
    if act.at not in CUTS:
        raise BadFault(f"reset cuts at {', '.join(CUTS)}, not at {act.at!r}")
    if act.type == "partial":
        _check_items(act)
    _check_header("content-type", act.content_type)
    _check_times(act)
    if act.type == "redirect":
        _check_redirect(act)
    return act


def _check_redirect(act: Act) -> None:
    if act.status not in REDIRECTS:
        raise BadFault(f"a redirect is one of {', '.join(map(str, sorted(REDIRECTS)))}, not {act.status}. Type one")
    if not _BASE.fullmatch(act.to):
        raise BadFault("redirect names a base in ASCII, as in redirect=https://example.test")


def _check_items(act: Act) -> None:
    if not (act.indexes or act.items) or min(act.indexes, default=0) < 0:
        raise BadFault("partial names the items to refuse, counted from 0, as in partial=0,2")
    _only(act.items, ("name", "person", "kind"), "partial by items")
    if not all(isinstance(pattern, str) for pattern in act.items.values()):
        raise BadFault(f"items of partial is {act.items!r:.80}. Type {_MEMBERS['items'][1]}")


def _check_times(act: Act) -> None:
    # Written so that a number that is none, NaN, is refused as well.
    if act.date_s is not None and not 0 <= act.date_s <= DAY:
        raise BadFault(f"date_s is {act.date_s!r:.80}. Type {_MEMBERS['date_s'][1]}")
    if act.hint not in HINTS:
        raise BadFault(f"hint is {act.hint!r:.80}. Type one of {', '.join(HINTS)}")
    if not (0 < act.rate <= 100_000 and 1 <= act.burst <= 100_000):
        raise BadFault("a rate_limit has a rate above 0 and a burst of at least 1, both up to 100000. Type others")
    if not (0 <= act.up_s <= DAY and 0 <= act.down_s <= DAY and act.up_s + act.down_s > 0):
        raise BadFault(f"up_s and down_s of a flap are {_MEMBERS['up_s'][1]}. Type others")


def _check_header(name: str, value: Any) -> None:
    # What is no header would break the answer, and the client under test would see a dead connection instead of it.
    if not _TOKEN.fullmatch(name):
        raise BadFault(f"header {name!r:.80} is no name. Type letters, digits and dashes, as in Retry-After")
    if name.lower() in _FRAMING:
        raise BadFault(f"header {name} says where an answer ends, which the sandbox does. Leave it out")
    if not isinstance(value, str) or not _FIELD.fullmatch(value):
        raise BadFault(f"header {name} is {value!r:.80}. Type a text in Latin-1 on one line, without spaces around it")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(what: str, given: Any) -> str:
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > NAME_CHARS:
        raise BadFault(f"{what} is {given!r:.80}. Type a text of at most {NAME_CHARS} characters")
    return given


def _match(given: Any) -> Match:
    if given is None:
        return Match()
    if not isinstance(given, dict):
        raise BadFault('match is an object. Type: {"endpoint": "track.v2.*", "name": "order_*", "person": "ada"}')
    _only(given, ("endpoint", "name", "person", "workspace"), "match")
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise BadFault(f"match.{name} is {value!r:.80}. Type a text, with * for any")
    return Match(given.get("endpoint"), given.get("name"), given.get("person"))


def _when(given: Any) -> When:
    if given is None:
        return When()
    if not isinstance(given, dict) or given.get("mode", "always") not in MODES:
        raise BadFault(f'when.mode is one of {", ".join(MODES)}. Type: {{"mode": "first", "n": 2}}')
    _only(given, ("mode", "n", "p", "seed", "for_s"), "when")
    when = When(**given)
    if not isinstance(when.n, int) or when.n < 1:
        raise BadFault(f"when.n is {when.n!r:.80}. Type a whole number of at least 1")
    if not isinstance(when.p, int | float) or not 0 <= when.p <= 1:
        raise BadFault(f"when.p is {when.p!r:.80}. Type a chance between 0 and 1")
    if not isinstance(when.seed, int):
        raise BadFault(f"when.seed is {when.seed!r:.80}. Type a whole number")
    if when.for_s is not None and not (
        isinstance(when.for_s, int | float) and not isinstance(when.for_s, bool) and 0 < when.for_s <= DAY
    ):
        raise BadFault(f"when.for_s is {when.for_s!r:.80}. Type seconds, more than 0 and at most 86400")
    return when


def _only(given: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in known:
            raise BadFault(f"a {what} has no {name!r:.80}. Known: {', '.join(known)}")
