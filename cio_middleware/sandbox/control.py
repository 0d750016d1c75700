"""
The sandbox's own API under ``/_sandbox/v1``: look at everything, reset, wait, and throw faults.

GET never changes anything, not even by creating the workspace that it asks for. ``?workspace=`` or
``X-Cio-Workspace`` names the workspace; without either it is the only one there is, or else ``dev``.
"""

from __future__ import annotations

import asyncio
import os
import re
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from math import inf
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from cio_middleware.sandbox import (
    capture,
    context,
    faultspec,
    jsontext,
    levers,
    listing,
    openapi,
    profiles,
    scenarios,
    series,
    waiting,
    webhooks,
)
from cio_middleware.sandbox.changes import BadCursor
from cio_middleware.sandbox.detail import detail
from cio_middleware.sandbox.faults import TooManyRules
from cio_middleware.sandbox.guards import FULL, NO_STORE, problem
from cio_middleware.sandbox.guards import shown as _json
from cio_middleware.sandbox.problems import problems
from cio_middleware.sandbox.reading import BODY_BYTES, Disconnected, TooLarge, TooSlow, chunks, read_body
from cio_middleware.sandbox.store import DEFAULT_WORKSPACE, Full
from cio_middleware.sandbox.stream import Streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from cio_middleware.sandbox.store import Workspace, Workspaces

    Handler = Callable[["Control", Request, Workspace], Awaitable[ASGIApp]]

CLOCK_EXAMPLE = '{"at": 1800000000}'
UNDO_EXAMPLE = '{"token": "…"}'
WINDOW = {"window": 300, "step": 2}
"""Seconds of `series`, unless the query says otherwise."""

CAPTURE_SECONDS = 600.0
SLOW = "the body was not whole in time"
JSON_DEPTH = 64
"""Nesting of a body that is read."""


class BadRequest(ValueError):
    """A control call that cannot be read; the message says what to type."""


_UNREADABLE = (
    BadRequest, BadCursor, TooManyRules, faultspec.BadFault, listing.BadFilter, waiting.BadWait, capture.BadCapture,
    webhooks.BadWebhook, context.BadContext,
    series.BadWindow,
)  # fmt: skip


def routes(workspaces: Workspaces) -> list[Route]:
    """Return the routes of the control API."""
    control = Control(workspaces)
    return [Route(path, control.answer(method, handler), methods=[method]) for method, path, handler in _ROUTES]


class Control:
    """The calls; each takes the request and the workspace that it selects."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces
        self._streams = Streams(workspaces, _version())

    def answer(self, method: str, handler: Handler) -> Callable[[Request], Awaitable[ASGIApp]]:
        """Return a Starlette endpoint: find the workspace, and turn what cannot be read into a 400."""
        patience = self._workspaces.house.patience

        async def endpoint(request: Request) -> ASGIApp:
            """Answer one call."""
            # A capture says itself where it belongs, and one that is refused leaves no workspace behind.
            looks = method == "GET" or handler is Control.take_in
            select = self._workspaces.peek if looks else self._workspaces.open
            try:
                _plain(request)
                if method != "GET" and handler is not Control.take_in:  # which reads its own, for it may be large
                    request.state.body = await read_body(request.scope, request.receive, patience)
                return await self._handled(handler, request, select(_selected(request)))
            except _UNREADABLE as error:
                return problem(HTTPStatus.BAD_REQUEST, "CIO-SBX-005", str(error), "Change the call as said.")
            except Full as full:
                return problem(HTTPStatus.SERVICE_UNAVAILABLE, "CIO-SBX-007", str(full), FULL)
            except (Disconnected, asyncio.CancelledError):  # the client went, or the server stops
                return Response(status_code=HTTPStatus.BAD_REQUEST)  # to nobody
            except TooSlow:
                reply = problem(HTTPStatus.REQUEST_TIMEOUT, "CIO-SBX-008", SLOW, "Send it at once.")
                reply.headers["connection"] = "close"
                return reply
            except TooLarge:
                most = capture.CAPTURE_BYTES if handler is Control.take_in else BODY_BYTES
                said = f"the body is above {most} bytes"
                reply = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "CIO-SBX-008", said, "Send less.")
                reply.headers["connection"] = "close"
                return reply

        return endpoint

    async def _handled(self, handler: Handler, request: Request, workspace: Workspace) -> ASGIApp:
        before = workspace.faults.document()
        reply = await handler(self, request, workspace)
        if before != workspace.faults.document():
            workspace.faults_changed()
        return reply

    async def health(self, _request: Request, _workspace: Workspace) -> Response:
        """Say that the sandbox is up."""
        house = self._workspaces.house
        uptime = round(house.clock() - self._workspaces.started_at, 3)
        return _json({"ok": True, "version": _version(), "uptime_s": uptime})

    async def about(self, request: Request, _workspace: Workspace) -> Response:
        """Say where the sandbox is, what it holds, and what an app needs to reach it."""
        house = self._workspaces.house
        fidelity, capacity = house.fidelity, house.capacity
        url = str(request.base_url).rstrip("/")
        return _json({
            "url": url,
            "version": _version(),
            "pid": os.getpid(),
            "region": house.region,
            "flags": {"strict": house.strict, "redact": [*house.veil.fields], "token": house.access.token is not None},
            "workspaces": [workspace.name for workspace in self._workspaces],
            "capacity": {"events": capacity.events, "bytes": capacity.size},
            "limits": {"item_bytes": fidelity.item_bytes(), "batch_bytes": fidelity.batch_bytes()},
            "environment": environment(url),
        })  # fmt: skip

    async def summary(self, _request: Request, workspace: Workspace) -> Response:
        """Return the counters."""
        return _json(workspace.summary())

    async def events(self, request: Request, workspace: Workspace) -> Response:
        """List events, newest first."""
        return _json(self._listed(workspace, request.query_params))

    async def good(self, request: Request, workspace: Workspace) -> Response:
        """List what was stored."""
        return _json(self._listed(workspace, {**request.query_params, "good": "true"}))

    async def bad(self, request: Request, workspace: Workspace) -> Response:
        """List what was lost, with the errors of each."""
        return _json(self._listed(workspace, {**request.query_params, "good": "false"}))

    def _listed(self, workspace: Workspace, query: Mapping[str, str]) -> dict[str, Any]:
        return listing.page(workspace, listing.read(query, workspace.now))

    async def event(self, request: Request, workspace: Workspace) -> Response:
        """Return one event in full; a row that a later attempt replaced leads to that one."""
        wanted = listing.whole("the number of an event", request.path_params["seq"])
        row = workspace.row(wanted)
        if row is None:
            return _missing(f"there is no event {wanted}, or it is so old that it was dropped")
        return _json(detail(workspace, row, str(request.base_url).rstrip("/")))

    async def people(self, request: Request, workspace: Workspace) -> Response:
        """List all profiles, also those that only events have named; with ``brief=1`` a line of each."""
        brief = request.query_params.get("brief") == "1"
        items = [person.line() if brief else person.document() for person in workspace.people]
        return _json({"items": items, "stream_cursor": workspace.changes.cursor})

    async def person(self, request: Request, workspace: Workspace) -> Response:
        """Return everything about whom an id, email, phone, cio_id or anonymous id leads to."""
        key = request.path_params["key"]
        person = workspace.people.called(key)
        if person is None:
            return _missing(f"nobody here is called {key!r:.200}", gone=profiles.gone(workspace, key))
        return _json(profiles.profile(workspace, person))

    async def objects(self, _request: Request, workspace: Workspace) -> Response:
        """List all objects."""
        items = [{"type": key[0], "id": key[1], "attributes": value} for key, value in workspace.objects.items()]
        return _json({"items": items})

    async def requests(self, request: Request, workspace: Workspace) -> Response:
        """List requests, newest first, as they came; without credentials."""
        limit = listing.number(request.query_params, "limit", 100)
        newest = [row.document() for row, _ in zip(workspace.requests.newest_first(), range(limit), strict=False)]
        return _json({"items": newest, "total": workspace.ledger.requested, "evicted": workspace.requests.evicted})

    async def differences(self, _request: Request, _workspace: Workspace) -> Response:
        """List what no source settles about the real Customer.io, and how this sandbox decides it."""
        return _json({"items": self._workspaces.house.fidelity.differences()})

    async def request(self, request: Request, workspace: Workspace) -> Response:
        """Return one request as it came, with its answer and its rows."""
        wanted = request.path_params["id"]
        found = workspace.request(wanted)
        if found is None:
            return _missing(f"there is no request {wanted!r:.200}, or it is so old that it was dropped")
        rows = [row.document() for row in workspace.events if row.request == wanted]
        return _json({**found.document(), "rows": rows})

    async def clear(self, request: Request, workspace: Workspace) -> Response:
        """Empty the ledger; for ten seconds it can be brought back."""
        before = listing.number(request.query_params, "before", 0) or None
        cleared, token = workspace.clear(before)
        return _json({"cleared": cleared, "undo": token, "stream_cursor": workspace.changes.cursor})

    async def undo(self, request: Request, workspace: Workspace) -> Response:
        """Bring back what was cleared."""
        given = _body(request, UNDO_EXAMPLE)
        token = given.get("token") if isinstance(given, dict) else None
        if not isinstance(token, str):
            raise BadRequest(f"undo takes the token that the clear returned. Type: {UNDO_EXAMPLE}")
        restored = workspace.put_back(token)
        if restored is None:
            return _missing("there is nothing to undo: it was done, or ten seconds have passed")
        return _json({"restored": restored, "stream_cursor": workspace.changes.cursor})

    async def levers(self, _request: Request, workspace: Workspace) -> Response:
        """List the six levers, and which are pulled."""
        return _json({"items": levers.document(workspace.faults), "stream_cursor": workspace.changes.cursor})

    async def reset(self, _request: Request, workspace: Workspace) -> Response:
        """Forget everything in the workspace and put its faults away."""
        workspace.reset()
        return _json({"epoch": workspace.epoch, "cursor": workspace.seq, "stream_cursor": workspace.changes.cursor})

    async def export(self, _request: Request, workspace: Workspace) -> Response:
        """Return a capture of the workspace, to attach to a bug report; it holds no credentials."""
        # A header is beyond the reach of the veil over the body.
        name = re.sub(r"[^A-Za-z0-9._-]", "_", self._workspaces.house.veil.over_text(workspace.name))[:80]
        headers = {"content-disposition": f'attachment; filename="cio-sandbox-{name}.ndjson"', **NO_STORE}
        return StreamingResponse(_spaced(capture.lines(workspace, _version())), 200, headers, "application/x-ndjson")

    async def take_in(self, request: Request, workspace: Workspace) -> Response:
        """Fill an empty workspace from a capture: the same rows, people and objects; all of it or nothing."""
        reader = capture.Reader(workspace.blank())
        async for chunk in chunks(request.scope, request.receive, capture.CAPTURE_BYTES, CAPTURE_SECONDS):
            reader.feed(chunk)
            await asyncio.sleep(0)  # others are served while a large one is read
        memory = reader.finish()
        target = self._workspaces.open(_selected(request) or reader.workspace)
        if target.ledger.requested or len(target.events):
            fix = f"Type ?workspace=another, or empty it first: POST {_ROOT}/reset?workspace={target.name:.200}"
            return problem(HTTPStatus.CONFLICT, "CIO-SBX-009", f"workspace {target.name!r:.200} is not empty", fix)
        target.remember(memory)
        counts = {"events": len(target.events), "requests": len(target.requests), "people": len(list(memory.people))}
        return _json({"workspace": target.name, **counts, "epoch": target.epoch, "cursor": target.seq})

    async def described(self, _request: Request, _workspace: Workspace) -> Response:
        """Return the description of these calls, for tools that read OpenAPI."""
        return _json(openapi.document(_version()))

    async def webhook(self, request: Request, workspace: Workspace) -> Response:
        """Send an app a signed reporting webhook, and say what it answered."""
        allowed = self._workspaces.house.access.webhook_hosts
        sent = webhooks.compose(_body(request, webhooks.EXAMPLE), workspace.now, allowed)
        return _json(await webhooks.deliver(sent))

    async def ticket(self, request: Request, _workspace: Workspace) -> Response:
        """Make a link that lets one browser in, once; without a token the page is open, and that is the link."""
        access, url = self._workspaces.house.access, str(request.base_url).rstrip("/")
        return _json({"link": url + (access.ticket() if access.token is not None else "/")})

    async def set_clock(self, request: Request, workspace: Workspace) -> Response:
        """Stop the workspace's clock at a time, or let it go on."""
        given = _body(request, CLOCK_EXAMPLE)
        at = given.get("at", "") if isinstance(given, dict) else ""
        if at is not None and (isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < inf):
            raise BadRequest(f"at is {at!r:.80}. Type Unix seconds, or null: {CLOCK_EXAMPLE}")
        workspace.frozen_at = at
        return _json({"at": at})

    async def told(self, request: Request, workspace: Workspace) -> Response:
        """Take in what a client on this machine tells of its events, as lines of JSON."""
        return _json(context.tell(workspace, context.read(request.state.body)))

    async def wait(self, request: Request, workspace: Workspace) -> Response:
        """Answer when what is waited for has come, or 408 with what came closest."""
        wish = waiting.read(_body(request, waiting.EXAMPLE))
        outcome = await waiting.wait(workspace, wish)
        found = {"matched": outcome.matched, "waited_ms": outcome.waited_ms}
        if outcome.fulfilled:
            return _json(found)
        return _json({**found, **waiting.explain(workspace, wish)}, HTTPStatus.REQUEST_TIMEOUT)

    async def problems(self, _request: Request, workspace: Workspace) -> Response:
        """List what went wrong, each kind once; the most frequent first."""
        items = problems(workspace.events.newest_first(), workspace.now)
        return _json({"items": items, "total_events": workspace.ledger.verdicts.total()})

    async def series(self, request: Request, workspace: Workspace) -> Response:
        """Return what came when, as bars, and how fast it was answered."""
        window, step = (listing.number(request.query_params, name, usual) for name, usual in WINDOW.items())
        return _json(
            series.draw(workspace.ledger.tally, workspace.requests.newest_first(), workspace.now, window, step)
        )

    async def stream(self, request: Request, workspace: Workspace) -> ASGIApp:
        """Say what changes, as it does, from a cursor on."""
        since = request.headers.get("last-event-id") or request.query_params.get("since")
        return self._streams.stream(_selected(request) or workspace.name, since)

    async def faults(self, _request: Request, workspace: Workspace) -> Response:
        """List rules and the script, with what they did so far."""
        return _json(workspace.faults.document())

    async def add_fault(self, request: Request, workspace: Workspace) -> Response:
        """Add a rule at the end, or put a new one in the place of the one with its id."""
        name = request.path_params.get("id", "")
        lever = None if request.state.body else levers.LEVERS.get(name)
        rule = workspace.faults.put(lever or faultspec.rule(_body(request, faultspec.EXAMPLE), name))
        return _json({"id": rule.id, **workspace.faults.document()})

    async def drop_fault(self, request: Request, workspace: Workspace) -> Response:
        """Remove one rule."""
        wanted = request.path_params["id"]
        if not workspace.faults.drop(wanted):
            return _missing(f"there is no fault {wanted!r:.200}")
        return _json(workspace.faults.document())

    async def script(self, request: Request, workspace: Workspace) -> Response:
        """Start a script."""
        given = _body(request, faultspec.SCRIPT_EXAMPLE)
        if not isinstance(given, dict):
            raise BadRequest(f"a script is an object. Type: {faultspec.SCRIPT_EXAMPLE}")
        workspace.faults.play(faultspec.script(given.get("steps", ()), given.get("match")))
        return _json(workspace.faults.document())

    async def scenarios(self, _request: Request, workspace: Workspace) -> Response:
        """List the named scenarios, what each does, and which one runs."""
        return _json({"items": scenarios.shown(workspace.faults)})

    async def start_scenario(self, request: Request, workspace: Workspace) -> Response:
        """Put the rules of a scenario, in place of the scenario before."""
        try:
            scenario = scenarios.start(workspace.faults, request.path_params["name"])
        except scenarios.NoScenario as unknown:
            return _missing(str(unknown))
        return _json({"name": scenario.name, "sentence": scenario.sentence, **workspace.faults.document()})

    async def stop_scenario(self, _request: Request, workspace: Workspace) -> Response:
        """Remove the rules of the scenario that runs; other rules stay."""
        scenarios.stop(workspace.faults)
        return _json(workspace.faults.document())

    async def clear_faults(self, _request: Request, workspace: Workspace) -> Response:
        """Remove all rules and the script."""
        workspace.faults.clear()
        return _json(workspace.faults.document())


def environment(url: str, site_id: str = DEFAULT_WORKSPACE) -> dict[str, str]:
    """Return the environment variables that point an app at a sandbox; any key will do."""
    return {"CUSTOMERIO_BASE_URL": url, "CUSTOMERIO_SITE_ID": site_id, "CUSTOMERIO_API_KEY": "dev"}


_ROOT = "/_sandbox/v1"
_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", f"{_ROOT}/health", Control.health),
    ("GET", f"{_ROOT}/info", Control.about),
    ("GET", f"{_ROOT}/summary", Control.summary),
    ("GET", f"{_ROOT}/events", Control.events),
    ("GET", f"{_ROOT}/events/{{seq}}", Control.event),
    ("GET", f"{_ROOT}/good", Control.good),
    ("GET", f"{_ROOT}/bad", Control.bad),
    ("GET", f"{_ROOT}/people", Control.people),
    ("GET", f"{_ROOT}/people/{{key:path}}", Control.person),
    ("GET", f"{_ROOT}/objects", Control.objects),
    ("GET", f"{_ROOT}/requests", Control.requests),
    ("GET", f"{_ROOT}/requests/{{id}}", Control.request),
    ("GET", f"{_ROOT}/levers", Control.levers),
    ("DELETE", f"{_ROOT}/events", Control.clear),
    ("POST", f"{_ROOT}/undo", Control.undo),
    ("GET", f"{_ROOT}/differences", Control.differences),
    ("POST", f"{_ROOT}/reset", Control.reset),
    ("PUT", f"{_ROOT}/clock", Control.set_clock),
    ("POST", f"{_ROOT}/wait", Control.wait),
    ("POST", f"{_ROOT}/webhooks/trigger", Control.webhook),
    ("POST", f"{_ROOT}/ticket", Control.ticket),
    ("GET", f"{_ROOT}/openapi.json", Control.described),
    ("GET", f"{_ROOT}/stream", Control.stream),
    ("POST", f"{_ROOT}/context", Control.told),
    ("GET", f"{_ROOT}/series", Control.series),
    ("GET", f"{_ROOT}/problems", Control.problems),
    ("GET", f"{_ROOT}/export.ndjson", Control.export),
    ("POST", f"{_ROOT}/import", Control.take_in),
    ("GET", f"{_ROOT}/faults", Control.faults),
    ("POST", f"{_ROOT}/faults", Control.add_fault),
    ("DELETE", f"{_ROOT}/faults", Control.clear_faults),
    ("GET", f"{_ROOT}/scenarios", Control.scenarios),
    ("POST", f"{_ROOT}/faults/scenarios/{{name}}", Control.start_scenario),
    ("DELETE", f"{_ROOT}/faults/scenarios", Control.stop_scenario),
    ("PUT", f"{_ROOT}/faults/script", Control.script),
    ("PUT", f"{_ROOT}/faults/{{id}}", Control.add_fault),
    ("DELETE", f"{_ROOT}/faults/{{id}}", Control.drop_fault),
)


def _plain(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":  # so that nothing here can be made to inflate a bomb
        raise BadRequest(f"content-encoding {encoding!r:.40} is not read here. Type the body as it is")


def _selected(request: Request) -> str | None:
    return request.query_params.get("workspace") or request.headers.get("x-cio-workspace")


def _body(request: Request, example: str) -> Any:
    try:
        return jsontext.read(request.state.body, JSON_DEPTH).value
    except jsontext.NotJson as error:
        raise BadRequest(f"{error}. Type: {example}") from error


async def _spaced(lines: Iterator[str]) -> AsyncIterator[bytes]:
    """Yield text in portions, between which others are served."""
    portion = ""
    for line in lines:
        portion += line
        if len(portion) > 65_536:
            # Half a surrogate pair goes out as the escape that it came in as.
            yield portion.encode("utf-8", "backslashreplace")
            portion = ""
            await asyncio.sleep(0)
    yield portion.encode("utf-8", "backslashreplace")


def _missing(message: str, **more: Any) -> Response:
    return problem(HTTPStatus.NOT_FOUND, "CIO-SBX-006", message, "Look at the list above it.", **more)


def _version() -> str:
    try:
        return version("cio-middleware")
    except PackageNotFoundError:  # run from a checkout
        return "0"
