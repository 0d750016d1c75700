"""
The map of Customer.io's APIs, Track, Pipelines and App: which method and path mean which call.

A path is split before it is decoded, so that ``a%2Fb`` stays one identifier and never looks like two
segments.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    One call.

    Attributes:
        name: The stable name that faults match and rows carry, such as ``track.v1.identify``.
        method: The HTTP method.
        path: The path, with ``{placeholders}`` for one decoded segment each.
        says: The call in a word or two, for hints.
        guarded: False for the few calls that Customer.io takes without credentials.
        success: The status of a good answer.
    """

    name: str
    method: str
    path: str
    says: str
    guarded: bool = True
    success: int = 200

    @property
    def api(self) -> str:
        """The API that it belongs to, which decides credentials and envelopes; see `api_of`."""
        return api_of(self.path)


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint, and the decoded segments of the path that led to it."""

    endpoint: Endpoint
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Nowhere:
    """
    A request that Customer.io has no call for.

    Attributes:
        endpoint: A stand-in named ``unknown``, in the API that the path belongs to.
        hint: What may have been meant, as a sentence, or nothing.
        allowed: The methods that this path does have; empty when the path itself is unknown.
    """

    endpoint: Endpoint
    hint: str
    allowed: tuple[str, ...] = ()


def api_of(path: str) -> str:
    """Return the API that a path belongs to: ``track.v1``, ``track.v2``, ``pipelines`` or ``app``."""
    prefixes = {"/api/v2/": "track.v2", "/v1/send/": "app", "/v1/": "pipelines"}
    return next((api for prefix, api in prefixes.items() if path.startswith(prefix)), "track.v1")


_PERSON = "/api/v1/customers/{identifier}"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("track.v1.region", "GET", "/api/v1/accounts/region", "find the region"),
    Endpoint("track.v1.identify", "PUT", _PERSON, "identify"),
    Endpoint("track.v1.delete", "DELETE", _PERSON, "delete"),
    Endpoint("track.v1.event", "POST", _PERSON + "/events", "track"),
    Endpoint("track.v1.anonymous_event", "POST", "/api/v1/events", "track anonymously"),
    Endpoint("track.v1.add_device", "PUT", _PERSON + "/devices", "add a device"),
    Endpoint("track.v1.delete_device", "DELETE", _PERSON + "/devices/{token}", "delete a device"),
    Endpoint("track.v1.suppress", "POST", _PERSON + "/suppress", "suppress"),
    Endpoint("track.v1.unsuppress", "POST", _PERSON + "/unsuppress", "unsuppress"),
    Endpoint("track.v1.merge", "POST", "/api/v1/merge_customers", "merge two people"),
    Endpoint("track.v1.metric", "POST", "/api/v1/metrics", "report a metric", guarded=False),
    Endpoint("track.v1.push_metric", "POST", "/api/v1/push/events", "report a push metric", guarded=False),
    Endpoint("track.v1.form", "POST", "/api/v1/forms/{form_id}/submit", "submit a form", success=204),
    Endpoint("track.v1.add_to_segment", "POST", "/api/v1/segments/{segment_id}/add_customers", "fill a segment"),
    Endpoint(
        "track.v1.remove_from_segment", "POST", "/api/v1/segments/{segment_id}/remove_customers", "empty a segment"
    ),
    Endpoint("track.v1.unsubscribe", "POST", "/unsubscribe/{delivery_id}", "unsubscribe", guarded=False),
    Endpoint("track.v2.entity", "POST", "/api/v2/entity", "one v2 item"),
    Endpoint("track.v2.batch", "POST", "/api/v2/batch", "a v2 batch"),
    *(
        Endpoint(f"pipelines.{verb}", "POST", f"/v1/{verb}", f"{verb} by Pipelines")
        for verb in ("identify", "track", "page", "screen", "group", "alias", "batch")
    ),
    *(
        Endpoint(f"app.send_{channel}", "POST", f"/v1/send/{channel}", f"send by {channel}")
        for channel in ("email", "push", "sms", "in_app", "inbox_message", "whatsapp")
    ),
)


def find(method: str, raw_path: bytes) -> Route | Nowhere:
    """Return the endpoint that a method and an undecoded path lead to, or the nearest hint."""
    path = raw_path.decode("latin-1")
    segments = path.split("/")
    siblings: list[Endpoint] = []
    for endpoint in ENDPOINTS:
        values = _values(endpoint.path.split("/"), segments)
        if values is None:
            continue
        if endpoint.method == method:
            return Route(endpoint, values)
        siblings.append(endpoint)
    unknown = Endpoint("unknown", method, path, "")
    allowed = tuple(endpoint.method for endpoint in siblings)
    return Nowhere(unknown, _did_you_mean(_other_methods(siblings) if siblings else _nearest(path)), allowed)


def _values(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    values: dict[str, str] = {}
    for expected, got in zip(pattern, segments, strict=True):
        if expected.startswith("{") and got:
            values[expected[1:-1]] = unquote(got)
        elif expected != got:
            return None
    return values


def _other_methods(siblings: list[Endpoint]) -> list[str]:
    hints = [f"{endpoint.method} ({endpoint.says})" for endpoint in siblings]
    below = [
        f"{endpoint.method} …{endpoint.path.removeprefix(sibling.path)} ({endpoint.says})"
        for sibling in siblings
        for endpoint in ENDPOINTS
        if endpoint.path.startswith(sibling.path + "/") and endpoint.says == "track"
    ]
    return list(dict.fromkeys(hints + below))


def _nearest(path: str) -> list[str]:
    paths = sorted({endpoint.path for endpoint in ENDPOINTS})
    near = get_close_matches(path, paths, n=1, cutoff=0.5)
    return [f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if endpoint.path in near]


def _did_you_mean(hints: list[str]) -> str:
    return f"Did you mean {' or '.join(hints)}?" if hints else ""
