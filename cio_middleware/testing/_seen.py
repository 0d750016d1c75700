"""
What a test sees of a sandbox: frozen values read from its JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class SeenFinding:
    """One error or warning: Customer.io's words in `message`, the sandbox's in `explain` and `fix`."""

    code: str
    reason: str
    field: str
    message: str
    explain: str
    fix: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one from the sandbox's JSON."""
        return cls(**{name: item.get(name, "") for name in cls.__slots__})


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
class SeenContext:
    """
    What a client on this machine told the sandbox of an event, beside its delivery.

    Attributes:
        call_site: The line of the app that captured it, as ``file:line in function``.
        route: The path of the request, with names in the place of values; `method` and `request_id` are the request's.
        task: The Celery task.
        stages: How far it got, oldest first: ``captured``, ``queued`` or ``spooled``, ``sent#1``, ``replied``,
            ``settled``, or ``never_sent``; each a dict with `stage`, `at` and what is known.
    """

    call_site: str | None
    route: str | None
    method: str | None
    request_id: str | None
    trace_id: str | None
    span_id: str | None
    task: str | None
    drop_reason: str | None
    stages: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one from the sandbox's JSON."""
        values: dict[str, Any] = {name: item.get(name) for name in cls.__slots__}
        return cls(**{**values, "stages": tuple(item.get("stages") or ())})

    @property
    def reached(self) -> list[str]:
        """The names of the stages, oldest first."""
        return [stage["stage"] for stage in self.stages]


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
        context: Where it came from and how far it got, as a client on this machine tells the sandbox; None while it
            has not. What was sent as context is in ``data["context"]``.
        timestamp: As sent, or None; `received_at` is the sandbox's clock. Both are Unix seconds.
        api: ``track.v1`` or ``track.v2``.
        request: The id of the request; `batch_index` its place in it.
        attempts: How many requests tried to deliver it, up to this one; `statuses` has the outcome of each, and
            `attempts_log` the newest of them with all that is known.
        replaces: The numbers of earlier rows of this event, which a fault had refused; this one took their place.
        took_ms: From the first attempt's arrival to the last one's answer.
        headline: What became of it, in a sentence.
        drop_reason: Why it was never sent, in the words of `DropReason`.
    """

    seq: int
    kind: str
    subject: str
    name: str | None
    person: str | None
    identifiers: Mapping[str, Any]
    event_id: str | None
    data: Any
    context: SeenContext | None
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
    drop_reason: str | None = None

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one from the sandbox's JSON."""
        values: dict[str, Any] = {name: item.get(name) for name in cls.__slots__}
        for name in ("errors", "warnings"):
            values[name] = tuple(SeenFinding.of(finding) for finding in item[name])
        values["attempts_log"] = tuple(SeenAttempt(**attempt) for attempt in item.get("attempts_log", ()))
        for name in ("statuses", "replaces"):
            values[name] = tuple(item.get(name, ()))
        values["context"] = SeenContext.of(item["context"]) if item.get("context") else None
        return cls(**values)

    @property
    def trace_id(self) -> str | None:
        """The trace that the event was captured in, if it is known."""
        if self.context is not None and self.context.trace_id:
            return self.context.trace_id
        sent = self.data.get("context") if isinstance(self.data, dict) else None
        trace_id = sent.get("traceId") if isinstance(sent, dict) else None
        return trace_id if isinstance(trace_id, str) else None


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
        values = {**item, "events": ids, "event_names": [moment["name"] for moment in moments]}
        return cls(**{name: values[name] for name in cls.__slots__})


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


@dataclass(frozen=True, slots=True)
class SeenProblem:
    """What is wrong with `count` operations: one code, one name, one field."""

    code: str
    name: str | None
    field: str
    count: int
    verdict: str
    message: str
    explain: str
    fix: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one from the sandbox's JSON."""
        values: dict[str, Any] = {name: item.get(name) for name in cls.__slots__}
        return cls(**values)
