"""
Answer a request as Customer.io would, up to the point where bytes go out.

Two steps, with room between them for an injected delay: `plan` finds out what is asked, by whom and which
fault answers; `carry_out` judges, stores and composes the reply. Neither touches a socket.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox import access, jsontext, pipelines, replies, sends
from cio_middleware.sandbox.endpoints import Nowhere, Route, find
from cio_middleware.sandbox.faults import BODILESS as BODILESS_STATUSES
from cio_middleware.sandbox.faults import Act, Decision
from cio_middleware.sandbox.labels import asked_to_wait, label
from cio_middleware.sandbox.operations import Operation, from_call, from_item
from cio_middleware.sandbox.rows import RequestRow
from cio_middleware.sandbox.rules import objections
from cio_middleware.sandbox.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cio_middleware.sandbox.access import Credentials
    from cio_middleware.sandbox.endpoints import Endpoint
    from cio_middleware.sandbox.fidelity import Fidelity
    from cio_middleware.sandbox.replies import Reply
    from cio_middleware.sandbox.store import Judgement, Workspace, Workspaces

BODILESS = frozenset({"delete", "delete_device", "suppress", "unsuppress", "unsubscribe", "region"})
NO_REPLY = frozenset({"hang", "reset", "ack_lost"})

REPLY_CHARS = 4096
"""Characters of an answer that are remembered."""


@dataclass(frozen=True, slots=True)
class Call:
    """
    A request as read from the wire, its secrets already gone.

    Attributes:
        raw_path: The path as sent, not decoded.
        credentials: What they name, and not what they keep secret.
        origin: Scheme and host by which the caller reached this server.
        at: When it arrived, in Unix seconds.
        key: What may be remembered of the API key; see `reading.fingerprint`.
    """

    method: str
    raw_path: bytes
    query: Mapping[str, str]
    query_string: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    credentials: Credentials
    origin: str
    at: float
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is refused before anything in it is judged: why, with what answer, and what that makes of it."""

    finding: Finding
    reply: Reply
    verdict: Verdict = Verdict.REJECTED


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request asks for, and what will be done about it."""

    call: Call
    workspace: Workspace
    began: float
    endpoint: Endpoint
    refusal: Refusal | None = None
    operations: tuple[Operation, ...] = ()
    decision: Decision = field(default_factory=Decision)

    @property
    def permissive(self) -> bool:
        """True for a Pipelines call that did not ask for strict mode: what is wrong with it, nobody is told."""
        return self.endpoint.api == "pipelines" and dict(self.call.headers).get("x-strict-mode") != "1"


class Emulator:
    """Customer.io's APIs over the workspaces of one sandbox."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces
        self._fidelity: Fidelity = workspaces.house.fidelity
        self._region = workspaces.house.region

    def plan(self, call: Call) -> Plan:
        """Find out what a request asks for and which fault answers it; the counters of faults move on."""
        found = find(call.method, call.raw_path)
        site = access.site("" if isinstance(found, Nowhere) else found.endpoint.api, call.credentials, self._fidelity)
        workspace = self._workspace(site, call.credentials.name)
        if workspace.frozen_at is not None:
            call = replace(call, at=workspace.frozen_at)
        plan = Plan(call, workspace, time.perf_counter(), found.endpoint)
        if isinstance(found, Nowhere):
            return replace(plan, refusal=_nowhere(call, found))
        if found.endpoint.guarded and site is None:
            return replace(plan, refusal=self._refused(plan, self._unauthorized(plan), HTTPStatus.UNAUTHORIZED))
        try:
            call = _unfolded(call) if found.endpoint.api == "pipelines" else call
            operations = self._operations(call, found)
        except _Unreadable as unreadable:
            return replace(plan, refusal=self._refused(plan, unreadable.finding, unreadable.status))
        names = [op.name for op in operations if isinstance(op.name, str)]
        people = [value for op in operations if isinstance(op.identifiers, dict) for value in op.identifiers.values()]
        decision = plan.workspace.faults.decide(found.endpoint.name, names, [str(value) for value in people])
        return replace(plan, call=call, operations=operations, decision=decision)

    def carry_out(self, plan: Plan) -> Reply:
        """Judge, store, keep the rows, and return the reply that goes out unless the fault breaks the line."""
        if plan.refusal is not None:
            verb = plan.endpoint.name.rpartition(".")[2]
            whole = Operation(api=plan.endpoint.api, subject="request", kind=verb, sent=None, size=len(plan.call.body))
            judged = [plan.workspace.refuse(whole, plan.refusal.finding, plan.refusal.verdict)]
            reply = plan.refusal.reply
        else:
            act = plan.decision.act
            judged = self._judge(plan, _refused_by(act, plan.operations))
            if act.type == "blackhole":
                reply = self._success(plan, judged)
            else:
                reply = self._reply(plan, judged) if act.stores else self._fault_reply(plan)
            if not act.stores and act.type != "blackhole":
                wait = asked_to_wait(reply.headers, plan.call.at) if act.type not in NO_REPLY else None
                plan.workspace.refused(judged, plan.call.at, wait)
        plan.workspace.publish(judged, self._request(plan, reply, judged))
        return reply

    def _workspace(self, site: str | None, claimed: str | None) -> Workspace:
        if site is not None:
            return self._workspaces.open(site)
        return self._workspaces.open(claimed if claimed in self._workspaces else None)

    def _unauthorized(self, plan: Plan) -> Finding:
        explain = access.NEEDS[plan.endpoint.api]
        return Finding("E-unauthorized", "unauthorized", "", self._fidelity.unauthorized, explain, "Set both.")

    def _refused(self, plan: Plan, finding: Finding, status: int) -> Refusal:
        if plan.permissive:
            return Refusal(finding, self._success(plan, []), Verdict.IGNORED)
        api = "track.v1" if status == HTTPStatus.UNAUTHORIZED and plan.endpoint.api == "track.v2" else plan.endpoint.api
        return Refusal(finding, replies.refusal(api, status, (finding,), self._fidelity.pipelines_error))

    def _operations(self, call: Call, route: Route) -> tuple[Operation, ...]:
        verb = route.endpoint.name.rpartition(".")[2]
        if verb == "region":
            return ()
        document = self._document(call, verb)
        if route.endpoint.api == "track.v1":
            return (from_call(route, document, call.query),)
        if document is None:
            raise _Unreadable("the body is empty")
        if verb == "entity":
            return (from_item(document.value, document.size),)
        if route.endpoint.api == "app":
            return (sends.from_call(verb.removeprefix("send_"), document, call.at),)
        if route.endpoint.api == "pipelines" and verb != "batch":
            return (pipelines.from_call(verb, document.value, document.size),)
        items = document.value.get("batch") if isinstance(document.value, dict) else None
        if not isinstance(items, list) or not items:
            finding = Finding(
                "E-batch-required", "required", "batch", "batch must be an array of items", fix='Send {"batch": […]}.'
            )
            raise _Unreadable(finding=finding)
        most = self._fidelity.batch_items
        if len(items) > most:
            explain = f"the batch has {len(items)} items, the sandbox reads {most}"
            raise _Unreadable(
                finding=Finding("E-batch-too-many", "invalid", "batch", explain, explain, "Send smaller batches.")
            )
        sizes = document.items
        if route.endpoint.api == "pipelines":
            return pipelines.from_batch(items, sizes, document.value.get("context"))
        return tuple(from_item(item, sizes[index], index) for index, item in enumerate(items))

    def _document(self, call: Call, verb: str) -> jsontext.Document | None:
        encoding = dict(call.headers).get("content-encoding", "identity")
        unfolded = encoding == "gzip" and call.raw_path.startswith(b"/v1/") and b"/send/" not in call.raw_path
        if encoding != "identity" and not unfolded:
            raise _Unreadable(f"content-encoding {encoding} is not known to be supported")
        limit = self._fidelity.batch_bytes()
        if verb == "batch" and len(call.body) > limit:
            explain = f"the body is {len(call.body)} bytes, the limit is {limit}"
            finding = Finding(
                "E-batch-too-large", "invalid", "batch", "request is too large", explain, "Send smaller batches."
            )
            raise _Unreadable(finding=finding, status=self._fidelity.oversized_status)
        if not call.body and verb in BODILESS:
            return None
        try:
            keep = self._fidelity.non_finite == "discard"
            return jsontext.read(call.body, self._fidelity.json_depth, keep_non_finite=keep)
        except jsontext.NotJson as error:
            if verb in BODILESS:
                return None
            raise _Unreadable(str(error)) from error

    def _judge(self, plan: Plan, refused: dict[int, Finding]) -> list[Judgement]:
        workspace, now = plan.workspace, plan.call.at
        spoiled = self._spoiled(plan)
        swallowed = plan.decision.act.type == "blackhole"
        judged = [
            workspace.refuse(op, refused[index], Verdict.IGNORED if swallowed else Verdict.FAULT)
            if index in refused
            else workspace.refuse(op, _SPOILED, Verdict.REJECTED)
            if index in spoiled
            else workspace.settle(op, now)
            for index, op in enumerate(plan.operations)
        ]
        if not plan.permissive:
            return judged
        lost = Verdict.IGNORED  # nobody is told
        return [replace(one, verdict=lost) if one.verdict is Verdict.REJECTED else one for one in judged]

    def _spoiled(self, plan: Plan) -> set[int]:
        """The good items of a strict Pipelines batch that a bad one takes down with it."""
        if plan.endpoint.api != "pipelines" or plan.permissive or self._fidelity.pipelines_strict_batch == "item":
            return set()
        good = {index for index, op in enumerate(plan.operations) if not objections(op, self._fidelity)}
        return good if len(good) < len(plan.operations) else set()

    def _reply(self, plan: Plan, judged: list[Judgement]) -> Reply:
        endpoint = plan.endpoint
        if endpoint.name == "track.v1.region":
            return replies.document({"url": plan.call.origin, "region": self._region, "environment_id": 1})
        refused = {Verdict.REJECTED, Verdict.FAULT}
        failed = [(index, one.errors) for index, one in enumerate(judged) if one.verdict in refused]
        if not failed:
            return self._success(plan, judged)
        if endpoint.name == "track.v2.batch":
            return replies.partial(failed)
        # The item that is wrong says so, and not one that went down with it.
        found = next((errors for _, errors in failed if _SPOILED not in errors), failed[0][1])
        return replies.refusal(endpoint.api, HTTPStatus.BAD_REQUEST, found, self._fidelity.pipelines_error)

    def _success(self, plan: Plan, judged: list[Judgement]) -> Reply:
        if plan.endpoint.api == "app":
            return replies.document(sends.answer(judged[0].op, judged[0].seq))
        if plan.endpoint.api == "pipelines" and self._fidelity.pipelines_success == "success":
            return replies.document({"success": True})
        return replies.success(plan.endpoint.success)

    def _fault_reply(self, plan: Plan) -> Reply:
        act = plan.decision.act
        headers = dict(act.headers)
        if act.status == HTTPStatus.TOO_MANY_REQUESTS and self._fidelity.retry_after_on_429:
            headers.setdefault("Retry-After", self._fidelity.retry_after_on_429)
        if act.type == "redirect":
            location = act.to.rstrip("/") + plan.call.raw_path.decode("latin-1")
            return replies.Reply(act.status, b"", (("location", location),))
        if act.type == "garbage":
            return replies.Reply(act.status, (act.body or "").encode(), (("content-type", act.content_type),))
        if act.body is not None or act.status in BODILESS_STATUSES:
            return replies.Reply(act.status, (act.body or "").encode(), (*replies.HEADERS, *headers.items()))
        finding = Finding("fault", "fault", "", f"injected: {_phrase(act.status)}")
        reply = replies.refusal(plan.endpoint.api, act.status, (finding,), self._fidelity.pipelines_error)
        return replace(reply, headers=(*reply.headers, *headers.items()))

    def _request(self, plan: Plan, reply: Reply, judged: list[Judgement]) -> RequestRow:
        act = plan.decision.act
        call = plan.call
        answered = act.type not in NO_REPLY
        return RequestRow(
            id=plan.workspace.next_request(),
            workspace=plan.workspace.name,
            method=call.method,
            path=call.raw_path.decode("latin-1"),
            query=call.query_string,
            endpoint=plan.endpoint.name,
            headers=call.headers,
            body=call.body.decode("utf-8", "replace"),
            size=len(call.body),
            status=reply.status if answered else None,
            fault=_fault_named(plan.decision),
            received_at=call.at,
            took_ms=round((time.perf_counter() - plan.began) * 1000, 3),
            key=call.key,
            events=(judged[0].seq, judged[-1].seq) if judged else None,
            label=label(plan.decision, plan.workspace.faults.label(plan.decision.fault)),
            retry_after=asked_to_wait(reply.headers, call.at) if answered else None,
            reply_headers=reply.headers,
            reply_body=reply.body.decode("utf-8", "replace")[:REPLY_CHARS],
        )


class _Unreadable(Exception):
    """A body that cannot be taken apart into operations."""

    def __init__(
        self, message: str = "", *, finding: Finding | None = None, status: int = HTTPStatus.BAD_REQUEST
    ) -> None:
        super().__init__(message)
        self.status = status
        self.finding = finding or Finding("E-not-json", "parse_error", "", message, message, "Send JSON in UTF-8.")


_SPOILED = Finding(
    "E-batch-refused",
    "invalid",
    "batch",
    "another item of the batch is invalid",
    "in strict mode one bad item refuses the batch",
    "Mend the other item, and send this one again.",
)


def _unfolded(call: Call) -> Call:
    if dict(call.headers).get("content-encoding") != "gzip":
        return call
    try:
        return replace(call, body=pipelines.unfold(call.body))
    except pipelines.BadGzip as error:
        raise _Unreadable(str(error)) from error


def _nowhere(call: Call, nowhere: Nowhere) -> Refusal:
    path = call.raw_path.decode("latin-1")
    message = f"{call.method} {path} does not exist. {nowhere.hint}".strip()
    finding = Finding("CIO-SBX-002", "unknown_endpoint", "", message, message, nowhere.hint)
    status = HTTPStatus.METHOD_NOT_ALLOWED if nowhere.allowed else HTTPStatus.NOT_FOUND
    reply = replies.refusal(nowhere.endpoint.api, status, (finding,))
    if nowhere.allowed:
        reply = replace(reply, headers=(*reply.headers, ("allow", ", ".join(nowhere.allowed))))
    return Refusal(finding, reply)


def _refused_by(act: Act, operations: tuple[Operation, ...]) -> dict[int, Finding]:
    finding = Finding(f"fault-{act.type}", "invalid", "", "injected: refused by a fault")
    if act.type == "partial":
        return {index: finding for index, op in enumerate(operations) if act.refuses(index, _said(op))}
    return {} if act.stores else dict.fromkeys(range(len(operations)), finding)


def _said(op: Operation) -> dict[str, list[str]]:
    """What an item says, for the patterns of a fault."""
    people = op.identifiers.values() if isinstance(op.identifiers, dict) else ()
    names = [op.name] if isinstance(op.name, str) else []
    return {"name": names, "person": [str(person) for person in people], "kind": [op.kind]}


def _fault_named(decision: Decision) -> str | None:
    if decision.act.type != "ok":
        return decision.act.type
    return "latency" if decision.delay_ms else None


def _phrase(status: int) -> str:
    known: dict[int, Any] = {member.value: member.phrase for member in HTTPStatus}
    return f"{status} {known.get(status, '')}".strip()
