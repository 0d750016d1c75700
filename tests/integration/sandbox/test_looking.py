"""Looking changes nothing: every GET that there is, with the whole state before it and after it."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import httpx
import pytest

from cio_middleware.sandbox.bell import Bell
from cio_middleware.sandbox.control import _ROUTES
from cio_middleware.sandbox.server import SandboxServer

GETS = sorted({path for method, path, _ in _ROUTES if method == "GET"})
KEYS = {"seq": ["1", "4", "99"], "key": ["ada", "a/b", "nobody"], "id": ["r1", "r99"]}
PLACE = re.compile(r"\{(\w+)(?::path)?\}")


def state(thing: Any) -> Any:
    """Everything inside a value, as plain lists that compare; a bell is only who waits."""
    if thing is None or isinstance(thing, Bell):
        return None
    if isinstance(thing, str | int | float | bool | bytes | Enum):
        return repr(thing)
    if isinstance(thing, random.Random):
        return thing.getstate()
    if isinstance(thing, Mapping):
        return [(state(key), state(value)) for key, value in thing.items()]
    if isinstance(thing, set | frozenset):
        return sorted(map(repr, thing))
    if isinstance(thing, list | tuple | deque):
        return [state(each) for each in thing]
    if callable(thing):
        return "(callable)"
    names = [field.name for field in fields(thing)] if is_dataclass(thing) else list(vars(thing))
    return [(name, state(getattr(thing, name))) for name in names]


@pytest.fixture(name="server")
def _server(web: httpx.Client) -> Iterator[SandboxServer]:
    """A sandbox with something of everything in it."""
    with SandboxServer() as server:
        for path, body in (
            ("/api/v1/customers/ada/events", {"name": "order", "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}),
            ("/api/v1/customers/ada/events", {"name": "x" * 200}),
            (
                "/api/v2/entity",
                {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "x"}},
            ),
            ("/api/v1/customers/bob/suppress", {}),
        ):
            web.post(f"{server.url}{path}", json=body, auth=("dev", "key"))
        root, headers = f"{server.url}/_sandbox/v1", {"X-Cio-Sandbox": "1"}
        chance = {"when": {"mode": "chance", "p": 0.5, "seed": 1}, "do": {"type": "status", "status": 503}}
        web.post(f"{root}/faults", json=chance, headers=headers)
        web.put(f"{root}/faults/script", json={"steps": ["503", "ok"]}, headers=headers)
        web.put(f"{root}/faults/lever-1", headers=headers)
        web.delete(f"{root}/events?before=2", headers=headers)
        yield server


@pytest.mark.parametrize("path", GETS)
def test_a_get_changes_nothing(path, server, web):
    """However it is asked, also for what is not there, and in a workspace that is not there."""
    places = PLACE.findall(path)
    assert set(places) <= set(KEYS), "say what stands in the new place"
    paths = [PLACE.sub(value, path) for value in KEYS[places[0]]] if places else [path]
    before = state(server.workspaces)
    for each in paths:
        for query in ("", "?workspace=nowhere", "?limit=1&since=0", "?since=1-1", "?q=is:bad", "?brief=1&window=60"):
            for method in ("GET", "HEAD"):
                with web.stream(method, f"{server.url}{each}{query}") as reply:
                    if not reply.headers["content-type"].startswith("text/event-stream"):
                        reply.read()
                    assert reply.status_code < 500
    assert state(server.workspaces) == before


def test_the_comparison_sees_a_change(server, web):
    """Otherwise it would prove nothing: each call that changes something is noticed."""
    headers = {"X-Cio-Sandbox": "1"}
    changes: list[tuple[str, str]] = [
        ("PUT", "/_sandbox/v1/faults/lever-2"), ("DELETE", "/_sandbox/v1/faults"), ("DELETE", "/_sandbox/v1/events"),
        ("POST", "/_sandbox/v1/reset"), ("GET", "/api/v1/nowhere"),
    ]  # fmt: skip
    for method, path in changes:
        before = state(server.workspaces)
        web.request(method, f"{server.url}{path}", headers=headers)
        assert state(server.workspaces) != before, (method, path)
