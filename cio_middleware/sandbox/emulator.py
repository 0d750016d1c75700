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

from cio_middleware.sandbox import jsontext, replies
from cio_middleware.sandbox.endpoints import Nowhere, Route, find
from cio_middleware.sandbox.faults import Act, Decision
from cio_middleware.sandbox.operations import Operation, from_call, from_item
from cio_middleware.sandbox.rows import EventRow, RequestRow
from cio_middleware.sandbox.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cio_middleware.sandbox.endpoints import Endpoint
    from cio_middleware.sandbox.fidelity import Fidelity
    from cio_middleware.sandbox.replies import Reply
    from cio_middleware.sandbox.store import Workspace, Workspaces

BODILESS = frozenset({"delete", "delete_device", "suppress", "unsuppress", "unsubscribe", "region"})
NO_REPLY = frozenset({"hang", "reset", "ack_lost"})


@dataclass(frozen=True, slots=True)
class Call:
    """
    A request as read from the wire, its secrets already gone.

    Attributes:
        raw_path: The path as sent, not decoded.
        site: The site id, when the credentials are acceptable.
        claimed: The site id that was given, acceptable or not.
        origin: Scheme and host by which the caller reached this server.
        at: When it arrived, in Unix seconds.
    """

    method: str
    raw_path: bytes
    query: Mapping[str, str]
    query_string: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    site: str | None
    claimed: str | None
    origin: str
    at: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is refused before anything in it is judged."""

    status: int
    finding: Finding
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request asks for, and what will be done about it."""

    call: Call
    workspace: Workspace
    began: float
    route: Route | None = None
    refusal: Refusal | None = None
    operations: tuple[Operation, ...] = ()
    decision: Decision = field(default_factory=Decision)

    @property
    def endpoint(self) -> str:
        """The name of the call, for rows and faults."""
        return self.route.endpoint.name if self.route else "unknown"

    @property
    def api(self) -> str:
        """The API whose envelope an error uses."""
        if self.route is not None:
            return self.route.endpoint.api
        return "track.v2" if self.call.raw_path.startswith(b"/api/v2/") else "track.v1"


class Emulator:
    """The Track API over the workspaces of one sandbox."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces
        self._fidelity: Fidelity = workspaces.house.fidelity

    def plan(self, call: Call) -> Plan:
        """Find out what a request asks for and which fault answers it; the counters of faults move on."""
        found = find(call.method, call.raw_path)
        plan = Plan(call, self._workspace(call), time.perf_counter())
        if isinstance(found, Nowhere):
            return replace(plan, refusal=_nowhere(call, found))
        plan = replace(plan, route=found)
        if found.endpoint.guarded and call.site is None:
            return replace(plan, refusal=self._unauthorized())
        try:
            operations = self._operations(call, found)
        except _Unreadable as unreadable:
            return replace(plan, refusal=unreadable.refusal)
        names = [op.name for op in operations if isinstance(op.name, str)]
        people = [value for op in operations if isinstance(op.identifiers, dict) for value in op.identifiers.values()]
        decision = plan.workspace.faults.decide(found.endpoint.name, names, [str(value) for value in people])
        return replace(plan, operations=operations, decision=decision)

    def carry_out(self, plan: Plan) -> Reply:
        """
        Judge, store, keep the rows, and return the reply that goes out unless the fault breaks the line.
        """
        workspace, act = plan.workspace, plan.decision.act
        request = workspace.next_request()
        if plan.refusal is not None or plan.route is None:
            refusal = plan.refusal or _nowhere(plan.call, Nowhere(""))
            whole = Operation(
                api=plan.api,
                subject="request",
                kind=plan.endpoint.rpartition(".")[2],
                sent=None,
                size=len(plan.call.body),
            )
            rows = [(workspace.refuse(whole, request, plan.call.at, refusal.finding, Verdict.REJECTED), whole)]
            reply = replies.refusal(plan.api, refusal.status, (refusal.finding,))
            reply = replace(reply, headers=(*reply.headers, *refusal.headers))
        else:
            refused = _refused_by(act, plan.operations)
            rows = [
                (self._settle(plan, request, op, refused.get(index)), op) for index, op in enumerate(plan.operations)
            ]
            reply = (
                self._reply(plan, plan.route.endpoint, [row for row, _ in rows])
                if act.stores
                else self._fault_reply(plan)
            )
        workspace.publish(rows, self._request(plan, request, reply, [row for row, _ in rows]))
        return reply

    def _workspace(self, call: Call) -> Workspace:
        if call.site is not None:
            return self._workspaces.open(call.site)
        known = call.claimed if call.claimed in self._workspaces else None
        return self._workspaces.open(known)

    def _unauthorized(self) -> Refusal:
        explain = "the Track API takes Basic credentials: site id and Track API key, both not empty"
        finding = Finding("E-unauthorized", "unauthorized", "", self._fidelity.unauthorized, explain, "Set both.")
        return Refusal(HTTPStatus.UNAUTHORIZED, finding)

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
        items = document.value.get("batch") if isinstance(document.value, dict) else None
        if not isinstance(items, list) or not items:
            finding = Finding(
                "E-batch-required", "required", "batch", "batch must be an array of items", fix='Send {"batch": […]}.'
            )
            raise _Unreadable(finding=finding)
        sizes = document.items
        return tuple(from_item(item, sizes[index], index) for index, item in enumerate(items))

    def _document(self, call: Call, verb: str) -> jsontext.Document | None:
        encoding = dict(call.headers).get("content-encoding", "identity")
        if encoding != "identity":
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
            return jsontext.read(call.body, self._fidelity.json_depth)
        except jsontext.NotJson as error:
            if verb in BODILESS:
                return None
            raise _Unreadable(str(error)) from error

    def _settle(self, plan: Plan, request: str, op: Operation, refused: Finding | None) -> EventRow:
        if refused is not None:
            return plan.workspace.refuse(op, request, plan.call.at, refused, Verdict.FAULT)
        return plan.workspace.settle(op, request, plan.call.at)

    def _reply(self, plan: Plan, endpoint: Endpoint, rows: list[EventRow]) -> Reply:
        if endpoint.name == "track.v1.region":
            return replies.document({"url": plan.call.origin, "region": "us", "environment_id": 1})
        failed = [
            (index, row.errors) for index, row in enumerate(rows) if row.verdict in {Verdict.REJECTED, Verdict.FAULT}
        ]
        if not failed:
            return replies.success(endpoint.success)
        if endpoint.name == "track.v2.batch":
            return replies.partial(failed)
        return replies.refusal(endpoint.api, HTTPStatus.BAD_REQUEST, failed[0][1])

    def _fault_reply(self, plan: Plan) -> Reply:
        act = plan.decision.act
        headers = dict(act.headers)
        if act.status == HTTPStatus.TOO_MANY_REQUESTS and self._fidelity.retry_after_on_429 is not None:
            headers.setdefault("Retry-After", self._fidelity.retry_after_on_429)
        if act.type == "redirect":
            location = act.to.rstrip("/") + plan.call.raw_path.decode("latin-1")
            return replies.Reply(act.status, b"", (("location", location),))
        if act.type == "garbage":
            return replies.Reply(act.status, (act.body or "").encode(), (("content-type", "text/html; charset=utf-8"),))
        if act.body is not None:
            return replies.Reply(act.status, act.body.encode(), (*replies.HEADERS, *headers.items()))
        finding = Finding("fault", "fault", "", f"injected: {_phrase(act.status)}")
        reply = replies.refusal(plan.api, act.status, (finding,))
        return replace(reply, headers=(*reply.headers, *headers.items()))

    def _request(self, plan: Plan, request: str, reply: Reply, rows: list[EventRow]) -> RequestRow:
        act = plan.decision.act
        call = plan.call
        return RequestRow(
            id=request,
            workspace=plan.workspace.name,
            method=call.method,
            path=call.raw_path.decode("latin-1"),
            query=call.query_string,
            endpoint=plan.endpoint,
            headers=call.headers,
            body=call.body.decode("utf-8", "replace"),
            size=len(call.body),
            status=None if act.type in NO_REPLY else reply.status,
            fault=_fault_named(plan.decision),
            received_at=call.at,
            took_ms=round((time.perf_counter() - plan.began) * 1000, 3),
            events=(rows[0].seq, rows[-1].seq) if rows else None,
        )


class _Unreadable(Exception):
    """A body that cannot be taken apart into operations."""

    def __init__(
        self, message: str = "", *, finding: Finding | None = None, status: int = HTTPStatus.BAD_REQUEST
    ) -> None:
        super().__init__(message)
        self.refusal = Refusal(
            status, finding or Finding("E-not-json", "parse_error", "", message, message, "Send JSON in UTF-8.")
        )


def _nowhere(call: Call, nowhere: Nowhere) -> Refusal:
    path = call.raw_path.decode("latin-1")
    message = f"{call.method} {path} does not exist. {nowhere.hint}".strip()
    finding = Finding("CIO-SBX-002", "unknown_endpoint", "", message, "Customer.io has no such call", nowhere.hint)
    if nowhere.allowed:
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, finding, (("allow", ", ".join(nowhere.allowed)),))
    return Refusal(HTTPStatus.NOT_FOUND, finding)


def _refused_by(act: Act, operations: tuple[Operation, ...]) -> dict[int, Finding]:
    finding = Finding(f"fault-{act.type}", "invalid", "", "injected: refused by a fault")
    if act.type == "partial":
        return dict.fromkeys(act.indexes, finding)
    return {} if act.stores else dict.fromkeys(range(len(operations)), finding)


def _fault_named(decision: Decision) -> str | None:
    if decision.act.type != "ok":
        return decision.act.type
    return "latency" if decision.delay_ms else None


def _phrase(status: int) -> str:
    known: dict[int, Any] = {member.value: member.phrase for member in HTTPStatus}
    return f"{status} {known.get(status, '')}".strip()
