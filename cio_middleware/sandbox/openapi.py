"""
The control API as an OpenAPI 3.1 document: one entry in `CALLS` for each line of `control._ROUTES`.

A test holds the two tables together, in both directions, and another asks every GET and compares what it answers with
what is said of it here. The schemas of rows are written from the classes of the rows.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from cio_middleware.sandbox.attempt import Attempt
from cio_middleware.sandbox.people import Moment
from cio_middleware.sandbox.rows import EventRow, RequestRow
from cio_middleware.sandbox.verdicts import Finding

ROOT = "/_sandbox/v1"

JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Call:
    """
    What is said of one call.

    Attributes:
        says: One sentence.
        answer: The schema of a 200: the name of one in `SCHEMAS`, or a schema.
        query: The names of its query parameters, from `PARAMETERS`.
        body: The schema of its body, likewise; None for none.
        media: What a 200 carries; what a body carries is `body_media`.
        others: More statuses that it answers, with a sentence for each.
    """

    says: str
    answer: str | dict[str, Any] = "Any"
    query: tuple[str, ...] = ()
    body: str | dict[str, Any] | None = None
    media: str = JSON
    body_media: str = JSON
    others: dict[int, str] = field(default_factory=dict)


_NUMBER = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


def _listed(name: str, *required: str) -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return {"type": "object", "required": ["items", *required], "properties": {"items": items}}


_FILTERS = ("q", "name", "person", "kind", "verdict", "good", "since", "before", "limit")
_GONE = {404: "There is none, or none any more."}

CALLS: dict[str, Call] = {
    "GET /health": Call("Say that the sandbox is up.", "Health"),
    "GET /info": Call("Say where the sandbox is, what it holds, and what an app needs to reach it.", "Info"),
    "GET /summary": Call("Count by verdict and by name since the last reset.", "Summary"),
    "GET /events": Call("List events, newest first.", "EventPage", _FILTERS),
    "GET /events/{seq}": Call("Show one event, with what was sent.", "Event", others=_GONE),
    "GET /good": Call("List what was stored.", "EventPage", _FILTERS),
    "GET /bad": Call("List what was lost, with the errors of each.", "EventPage", _FILTERS),
    "GET /people": Call("List all profiles, also those that only events have named.", _listed("Person")),
    "GET /people/{key}": Call("Show whom an identifier of any kind leads to.", "Person", others=_GONE),
    "GET /objects": Call("List all objects.", _listed("Object")),
    "GET /requests": Call("List requests, newest first, without keys.", _listed("RequestRow", "total"), ("limit",)),
    "GET /differences": Call("List what the sandbox guesses about Customer.io, with sources.", _listed("Any")),
    "POST /reset": Call("Forget everything in the workspace and put its faults away.", "Mark"),
    "POST /wait": Call(
        "Answer when what is waited for has come.", "Waited", body="Wish",
        others={408: "It did not come in time; the answer has what came closest."},
    ),
    "PUT /clock": Call("Stop the workspace's clock at a time, or let it go on.", _object("at"), body=_object("at")),
    "GET /stream": Call("Follow what changes, as server-sent events.", "Any", ("stream_since",), media=EVENTS),
    "GET /series": Call("Count by verdict in steps of time.", _object("step from to bars"), ("window", "step")),
    "GET /problems": Call("Group what went wrong by code, name and field.", _listed("Any", "total_events")),
    "GET /export.ndjson": Call("Save the workspace as a file, without credentials.", "Any", media=NDJSON),
    "POST /import": Call(
        "Fill an empty workspace from such a file, all of it or nothing.", "Mark", body="Any", body_media=NDJSON,
        others={409: "The workspace is not empty."},
    ),
    "GET /faults": Call("List the fault rules and the script, with what they did so far.", "Faults"),
    "POST /faults": Call("Add a fault rule at the end.", "Faults", body="Rule"),
    "DELETE /faults": Call("Remove all fault rules and the script.", "Faults"),
    "PUT /faults/script": Call("Start a script: one step for each request.", "Faults", body="Script"),
    "PUT /faults/{id}": Call("Put a fault rule in the place of the one with this id.", "Faults", body="Rule"),
    "DELETE /faults/{id}": Call("Remove one fault rule.", "Faults", others=_GONE),
    "POST /context": Call(
        "Tell how far events got, as lines of JSON; a client on this machine does it by itself.",
        _object("taken never_sent", taken=_NUMBER, never_sent=_NUMBER), body="Any", body_media=NDJSON,
    ),
    "POST /webhooks/trigger": Call(
        "Send an app a signed reporting webhook, and say what it answered.", "Delivered", body="Webhook"
    ),
    "POST /ticket": Call("Make a link that lets one browser in, once, where a token is asked for.", "Link"),
    "GET /scenarios": Call("List the scenarios that can be started, and those that run.", _listed("Any")),
    "POST /faults/scenarios/{name}": Call("Start a scenario.", others=_GONE),
    "DELETE /faults/scenarios": Call("Stop all scenarios."),
    "GET /levers": Call("List the six levers of the page, and which are pulled.", _listed("Any")),
    "GET /requests/{id}": Call("Show one request, as it came and as it was answered.", "RequestRow", others=_GONE),
    "DELETE /events": Call("Clear the rows; it can be undone.", _object("cleared undo", cleared=_NUMBER), ("before",)),
    "POST /undo": Call("Bring back what was cleared.", "Any", body=_object("token", token=_TEXT), others=_GONE),
    "GET /openapi.json": Call("Describe these calls.", {"type": "object", "required": ["openapi", "paths"]}),
}  # fmt: skip

PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "workspace": ("The site id; without it the only workspace there is, or else `dev`.", {"type": "string"}),
    "q": ("The filter language, such as `name:order_* -is:rejected since:5m`.", {"type": "string", "maxLength": 2000}),
    "name": ("The event's name, with `*` and `?`.", {"type": "string"}),
    "person": ("What the person is called, or any identifier as sent.", {"type": "string"}),
    "kind": ("`event`, `identify`, `page` and so on.", {"type": "string"}),
    "verdict": ("What became of it.", {"$ref": "#/components/schemas/Verdict"}),
    "good": ("Only what was stored, or only what was lost.", {"type": "string", "enum": ["true", "false"]}),
    "since": ("Only rows after this number.", _NUMBER),
    "before": ("Only rows before this number: the `next` of the page before.", _NUMBER),
    "stream_since": ("The `stream_cursor` of a list; the stream goes on from there.", {"type": "string"}),
    "window": ("So many seconds back.", _NUMBER),
    "step": ("Seconds of one bar.", _NUMBER),
    "limit": ("So many at most, the newest.", _NUMBER),
}

_ANY: dict[str, Any] = {}


_ROW = {"$ref": "#/components/schemas/EventRow"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "Any": _ANY,
    "Error": _object("error", error=_object("code message fix", code=_TEXT, message=_TEXT, fix=_TEXT)),
    "Health": _object("ok version uptime_s", ok={"const": True}, version=_TEXT, uptime_s={"type": "number"}),
    "Info": _object(
        "url version region workspaces capacity limits environment",
        url=_TEXT,
        workspaces={"type": "array", "items": _TEXT},
        environment={"type": "object", "additionalProperties": _TEXT},
    ),
    "Summary": _object(
        "workspace epoch cursor total good bad by_verdict by_name people requests kept evicted",
        by_verdict={"type": "object", "additionalProperties": _NUMBER},
        by_name={"type": "object", "additionalProperties": {"type": "object", "additionalProperties": _NUMBER}},
    ),
    "EventPage": _object(
        "items next cursor evicted",
        items={"type": "array", "items": _ROW},
        next={"type": ["integer", "null"], "description": "The `before` of the page after this one."},
        term_counts={
            "type": "array",
            "items": _object("term matches", term=_TEXT, matches=_NUMBER),
            "description": "When `q` finds nothing: how many events each of its terms finds alone.",
        },
    ),
    "Person": _object(
        "key cio_id identified identifiers attributes devices relationships segments events merged",
        identifiers={"type": "object", "additionalProperties": _TEXT},
        attributes={"type": "object"},
        events={"type": "array", "items": {"$ref": "#/components/schemas/Moment"}},
    ),
    "Object": _object("type id attributes", type=_TEXT, id=_TEXT, attributes={"type": "object"}),
    "Mark": _object("epoch cursor", epoch=_NUMBER, cursor=_NUMBER),
    "Webhook": _object(
        "to type", to=_TEXT, type={"type": "string", "examples": ["email.bounced"]}, person=_TEXT, email=_TEXT,
        data={"type": "object"}, event_id=_TEXT, timestamp=_NUMBER, signing_key=_TEXT,
    ),
    "Delivered": _object(
        "sent status reply error took_ms",
        sent=_object("to headers body", to=_TEXT, headers={"type": "object"}, body=_TEXT),
        status={"type": ["integer", "null"]}, reply=_TEXT, error={"type": ["string", "null"]},
    ),
    "Link": _object("link", link=_TEXT),
    "Wish": _object(
        "match",
        match={"type": "object", "description": 'A part of the row; values may be operators such as {"$gt": 1}.'},
        count=_NUMBER, exactly=_NUMBER, at_most=_NUMBER, since=_NUMBER,
        timeout_ms={"type": "number", "minimum": 0}, settle_ms={"type": "number", "minimum": 0},
    ),
    "Waited": _object("matched waited_ms", matched={"type": "array", "items": _ROW}, waited_ms=_NUMBER),
    "Faults": _object("rules script", rules={"type": "array", "items": {"$ref": "#/components/schemas/Rule"}}),
    "Rule": _object(
        "do", id=_TEXT, label=_TEXT, enabled={"type": "boolean"},
        match={"type": ["object", "null"]}, when={"type": ["object", "null"]}, do=_object("type", type=_TEXT),
    ),
    "Script": _object("steps", steps={"type": "array", "items": _TEXT}, match={"type": ["object", "null"]}),
}  # fmt: skip


def document(version: str) -> dict[str, Any]:
    """Return the whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for call, said in CALLS.items():
        method, _, path = call.partition(" ")
        paths.setdefault(ROOT + path, {})[method.lower()] = _operation(method, path, said)
    title = "cio sandbox: the control API of a local Customer.io"
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {"schemas": {**SCHEMAS, **_rows()}},
    }


def _operation(method: str, path: str, said: Call) -> dict[str, Any]:
    given = [_parameter(name) for name in (*said.query, "workspace")]
    named = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    given += [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in named]
    if method != "GET":
        must = {"type": "string", "const": "1"}
        given.append({"name": "X-Cio-Sandbox", "in": "header", "required": True, "schema": must})
    error = {JSON: {"schema": _named("Error")}}
    answers: dict[str, Any] = {
        "200": {"description": said.says, "content": {said.media: {"schema": _named(said.answer)}}},
        "400": {"description": "The call cannot be read; the message says what to type.", "content": error},
        "403": {"description": "A web page called, or the header that a change needs is missing.", "content": error},
    }
    for status, sentence in said.others.items():
        content = {JSON: {"schema": _ANY if status == 408 else _named("Error")}}
        answers[str(status)] = {"description": sentence, "content": content}
    verb = method.lower() + "".join(part.strip("{}").title() for part in path.replace(".", "/").split("/"))
    operation: dict[str, Any] = {"operationId": verb, "summary": said.says, "parameters": given, "responses": answers}
    if said.body is not None:
        operation["requestBody"] = {"required": True, "content": {said.body_media: {"schema": _named(said.body)}}}
    return operation


def _parameter(name: str) -> dict[str, Any]:
    says, schema = PARAMETERS[name]
    return {"name": name.removeprefix("stream_"), "in": "query", "description": says, "schema": schema}


def _named(schema: str | dict[str, Any]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"} if isinstance(schema, str) else schema


@cache
def _rows() -> dict[str, dict[str, Any]]:
    """The schemas of what is kept, from the classes that keep it; what `document` adds to a row is named here."""
    found: dict[str, dict[str, Any]] = {}
    for kind in (EventRow, RequestRow, Attempt, Finding, Moment):
        _described(kind, found)
    row = found["EventRow"]
    del row["properties"]["sent"], row["properties"]["strict"]  # one is in the single view only, one nowhere
    row["properties"] |= {"good": {"type": ["boolean", "null"]}, "attempts": _NUMBER, "context": _ANY}
    # A list shows a row whole, with its defaults; only a capture of another version may lack what has one.
    row["required"] = [*row["properties"]]
    # In the single view the request is there as a whole, and the context is what the client said besides.
    whole = {name: said for name, said in row["properties"].items() if name != "request"}
    found["Event"] = {"type": "object", "required": [*row["properties"], "sent"], "properties": whole}
    return found


def _described(kind: Any, found: dict[str, dict[str, Any]]) -> None:
    hints = get_type_hints(kind)
    required = [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]
    properties = {name: _schema(hints[name], found) for name in (one.name for one in fields(kind))}
    found[kind.__name__] = {"type": "object", "required": required, "properties": properties}


def _schema(hint: Any, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return {"anyOf": [_schema(one, found) for one in arguments]}
    if origin is tuple:
        inner = [_schema(one, found) for one in arguments if one is not ...]
        return {"type": "array", "items": inner[0]} if arguments[-1] is ... else {"type": "array", "prefixItems": inner}
    if isinstance(hint, type) and issubclass(hint, Enum):
        found[hint.__name__] = {"type": "string", "enum": [member.value for member in hint]}
        return _named(hint.__name__)
    if is_dataclass(hint):
        return _named(hint.__name__)  # type: ignore[union-attr]  # of a class, not of an instance
    plain = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
    return {"type": plain[hint]} if hint in plain else {}
