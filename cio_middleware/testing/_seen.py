"""
What a test sees of a sandbox: frozen values read from its JSON, and the text of an assertion that failed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN = 5
"""Events that a failure names, and names of people that a `KeyError` lists."""
SHOWN_TEXT = 120


@dataclass(frozen=True, slots=True)
class SeenFinding:
    """One error or warning: Customer.io's words in `message`, the sandbox's in `explain` and `fix`."""

    code: str
    reason: str
    field: str
    message: str
    explain: str
    fix: str


@dataclass(frozen=True, slots=True)
class SeenAttempt:
    """
    One request that tried to deliver an event.

    Attributes:
        n: Its number, from 1.
        at: When it arrived, in Unix seconds of the sandbox's clock.
        status: What was answered; None when nothing was.
        fault: The kind of fault that it met, or None; `label` says it in words.
        request: The id of the request.
        took_ms: From its arrival to its answer.
        retry_after: The seconds that the answer asked to wait, or None.
        batch_index: The event's place among the `batch_size` of its request, or None.
        note: A sentence about when it came, where the attempt before it had asked to wait.
        too_soon: True when it came before that.
    """

    n: int
    at: float
    status: int | None
    fault: str | None
    label: str | None
    request: str
    took_ms: float
    retry_after: float | None
    batch_index: int | None
    batch_size: int
    method: str
    path: str
    note: str | None
    too_soon: bool


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """
    One operation that arrived, with its verdict.

    Attributes:
        seq: Its number in the workspace.
        kind: ``event``, ``identify``, ``page``, ``screen``, ``delete`` and so on; `subject` is ``person`` or
            ``object``, mostly.
        name: The event's name; None for what has none.
        person: What the person it went to is called.
        identifiers: As sent.
        event_id: The ULID.
        data: The event's data, or the attributes of an identify.
        context: ``data["context"]``, or None.
        timestamp: As sent, or None; `received_at` is the sandbox's clock. Both are Unix seconds.
        api: ``track.v1`` or ``track.v2``.
        request: The id of the request; `batch_index` its place in it.
        attempts: How many requests tried to deliver it, up to this one; `statuses` has the outcome of each, and
            `attempts_log` the newest of them with all that is known.
        replaces: The numbers of earlier rows of this event, which a fault had refused; this one took their place.
        took_ms: From the first attempt's arrival to the last one's answer.
        headline: What became of it, in a sentence.
    """

    seq: int
    kind: str
    subject: str
    name: str | None
    person: str | None
    identifiers: Mapping[str, Any]
    event_id: str | None
    data: Any
    context: Any
    timestamp: Any
    received_at: float
    api: str
    request: str
    batch_index: int | None
    verdict: str
    good: bool | None
    errors: tuple[SeenFinding, ...]
    warnings: tuple[SeenFinding, ...]
    attempts: int
    statuses: tuple[int | str, ...]
    attempts_log: tuple[SeenAttempt, ...] = ()
    replaces: tuple[int, ...] = ()
    took_ms: float | None = None
    headline: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one from the sandbox's JSON."""
        values = {name: item[name] for name in cls.__slots__}
        for name in ("errors", "warnings"):
            values[name] = tuple(SeenFinding(**finding) for finding in values[name])
        values["attempts_log"] = tuple(SeenAttempt(**attempt) for attempt in values["attempts_log"])
        for name in ("statuses", "replaces"):
            values[name] = tuple(values[name])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """
    One profile.

    Attributes:
        key: What the person is called: their id, else their email, phone, cio_id or anonymous id.
        identified: False for somebody whom only events have named.
        events: The ids of their events in the order of arrival; an event without an id shows as ``#`` and its
            number.
        event_names: The names, in the same order.
        merged: The identifiers of profiles that were merged into this one.
    """

    key: str
    cio_id: str
    identified: bool
    identifiers: Mapping[str, str]
    attributes: Mapping[str, Any]
    devices: list[dict[str, Any]]
    relationships: list[dict[str, Any]]
    segments: list[str]
    events: list[str]
    event_names: list[str]
    merged: list[str]

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one from the sandbox's JSON."""
        moments = item["events"]
        ids = [moment["event_id"] or f"#{moment['seq']}" for moment in moments]
        return cls(**{**item, "events": ids, "event_names": [moment["name"] for moment in moments]})


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """
    One request as it arrived, without its credentials.

    Attributes:
        path: Not decoded.
        endpoint: The name of the call, such as ``track.v2.batch``, or ``unknown``.
        status: What was answered; None when there was no answer.
        fault: The kind of fault that answered.
        body: The text of the body.
    """

    id: str
    method: str
    path: str
    query: str
    endpoint: str
    headers: Mapping[str, str]
    body: str
    size: int
    status: int | None
    fault: str | None
    received_at: float

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one from the sandbox's JSON."""
        values = {name: item[name] for name in cls.__slots__}
        return cls(**{**values, "headers": dict(item["headers"])})

    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class SeenFault:
    """One rule, with how many requests it matched (`seen`) and hit (`hits`)."""

    id: str
    label: str
    enabled: bool
    do: Mapping[str, Any]
    seen: int
    hits: int

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one from the sandbox's JSON."""
        return cls(**{name: item[name] for name in cls.__slots__})


def nothing_matched(wish: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """Return the text of a failed wait: what was expected, what matched, what came closest, what else was seen."""
    lines = [f"{_headline(wish, answer)}  {_wanted(wish['match'])}"]
    lines += [_found(row) for row in answer["matched"][:SHOWN]]
    if len(answer["matched"]) > SHOWN:
        lines.append(f"  and {len(answer['matched']) - SHOWN} more")
    if answer["near_misses"]:
        lines.append(f"Closest ({len(answer['near_misses'])} of {answer['total']} seen):")
        lines += [_near(miss) for miss in answer["near_misses"]]
    if answer["hint"]:
        lines.append(answer["hint"])
    if answer["seen"]:
        seen = ", ".join(
            f"#{row['seq']} {row['name'] or row['kind']} {row['person'] or ''}".strip() for row in answer["seen"]
        )
        lines.append(f"Seen: {seen}")
    return "\n".join(lines)


def _headline(wish: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    found = len(answer["matched"])
    expected = next((f"{name}={wish[name]}" for name in ("exactly", "at_most", "count") if name in wish), None)
    if expected is None:
        return f"No event matched within {wish['timeout_ms'] / 1000:.1f} s:"
    return f"{found} events matched within {answer['waited_ms'] / 1000:.1f} s, expected {expected}:"


def _wanted(match: Mapping[str, Any]) -> str:
    words = [str(match["name"])] if "name" in match else []
    words += [f"{key}={value}" for key, value in match.items() if key not in {"name", "data", "good"}]
    words += [f"data ⊇ {json.dumps(match['data'], ensure_ascii=False)}"] if "data" in match else []
    return "  ".join(words)


def _found(row: Mapping[str, Any]) -> str:
    given = row["data"]
    if isinstance(given, dict):
        given = {name: value for name, value in given.items() if name != "context" and not name.startswith("_")}
    text = json.dumps(given, ensure_ascii=False)
    return (
        f"  #{row['seq']} {row['name'] or row['kind']}  {row['person'] or ''}  {row['verdict']}   {text[:SHOWN_TEXT]}"
    )


def _near(miss: Mapping[str, Any]) -> str:
    event = miss["event"]
    diffs = "; ".join(f"{path}: expected {_shown(expected)}, got {_shown(got)}" for path, expected, got in miss["diff"])
    what = f"#{event['seq']} {event['name'] or event['kind']}"
    return f"  {what}  {event['person'] or ''}  {event['verdict']}   {diffs}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"{text} (string)" if isinstance(value, str) and value.replace(".", "", 1).isdigit() else text
