"""Nobody sees a key, a person or a payload by looking at an object of this package (S1, S3, S26)."""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import gc
import importlib
import inspect
import json
import os
import pickle
import pkgutil
import pprint
import re
from collections import deque
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import msgspec
import pytest

import cio_middleware as cio
from cio_middleware import typing as cio_typing
from cio_middleware.asgi import CustomerIOMiddleware

CANARY = "c4n4ry"
KEY = f"{CANARY}-key"
BASIC = base64.b64encode(f"site:{KEY}".encode()).decode()
NEEDLES = (CANARY, BASIC)
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

ENVELOPE = cio_typing.Envelope(ULID, "event", "batch", 7, 1.0)
ADA = cio.Identity(id=CANARY)


class Bought(cio.EventType, name="bought"):
    """A typed event."""

    it: str


def example(kind: type) -> Any:
    """One of each public class, filled with what must not be seen."""
    made: dict[type, Callable[[], Any]] = {
        cio.Call: lambda: cio.Call({"it": CANARY}, CANARY, LookupError(CANARY), 1.0),
        cio.Catalog: lambda: cio.Catalog([Bought]),
        cio.Client: lambda: cio.Client(cio.Settings(site_id="site", api_key=KEY, enabled=False)),
        cio.DropReason: lambda: cio.DropReason.EXPIRED,
        cio.Event: lambda: cio.Event("page", ULID, CANARY, 1, f'{{"it":"{CANARY}"}}'.encode(), ADA, CANARY),
        cio.EventType: lambda: Bought(it=CANARY),
        cio.Identity: lambda: ADA,
        cio.RequestCell: _cell,
        cio.Settings: lambda: cio.Settings(
            site_id="site", api_key=KEY, base_url=f"https://user:{CANARY}@host/?{CANARY}"
        ),
        cio.Stats: cio.Stats,
        cio.bound: lambda: cio.bound({"it": CANARY}, person=CANARY),
        CustomerIOMiddleware: lambda: CustomerIOMiddleware(_app),
        cio_typing.DeadLetter: lambda: cio_typing.DeadLetter(
            ENVELOPE, CANARY.encode(), cio_typing.Refusal(CANARY), 1.0
        ),
        cio_typing.Envelope: lambda: ENVELOPE,
        cio_typing.Failure: lambda: cio_typing.Failure("builtins.TimeoutError"),
        cio_typing.Front: lambda: cio_typing.Front(1, 2, 3.0),
        cio_typing.Lease: lambda: cio_typing.Lease([(ENVELOPE, CANARY.encode())]),
        cio_typing.Receipt: cio_typing.Receipt,
        cio_typing.Refusal: lambda: cio_typing.Refusal(CANARY, CANARY, CANARY),
        cio_typing.Request: lambda: cio_typing.Request(f"/{CANARY}", "/{id}", CANARY.encode(), 1),
        cio_typing.Response: lambda: cio_typing.Response(200, {"location": CANARY}, CANARY.encode()),
    }
    return made[kind]()


async def _app(*_: Any) -> None:
    """Never called."""


def _cell() -> cio.RequestCell:
    scope = {"headers": [(b"authorization", CANARY.encode())]}
    cell = cio.RequestCell(
        None, scope, resolver=None, read_context=lambda _: CANARY.encode(), read_anonymous_id=lambda _: CANARY
    )
    cell.identity = ADA
    cell.answer = CANARY
    cell.context(), cell.browser()
    return cell


def public_classes() -> list[type]:
    """What the package exports, without its errors, which have tests of their own, and what only types it."""
    names = {**{name: getattr(cio, name) for name in cio.__all__}, "CustomerIOMiddleware": CustomerIOMiddleware}
    names |= {name: getattr(cio_typing, name) for name in cio_typing.__all__}
    return [
        kind
        for _, kind in sorted(names.items())
        if inspect.isclass(kind)
        and not issubclass(kind, Exception)
        and not getattr(kind, "_is_protocol", False)
        and kind is not cio_typing.About
    ]


LOOKS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value} {value!s:>5}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031 - the old way is one of the ways
    "pprint": pprint.pformat,
    "rich": lambda value: list(getattr(value, "__rich_repr__", list)()),
    "contained": lambda value: f"{[value]} { {'it': value} }",
    "in an exception": lambda value: f"{ValueError(value)} {ValueError(value)!r}",
    "copied": copy.copy,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__name__)
def test_s01_no_public_object_shows_what_it_holds(kind, look):
    """However an object of the package is printed, it shows no key, no person and no payload."""
    value = example(kind)
    assert not any(needle in f"{look(value)!r}" for needle in NEEDLES)
    if kind is cio.Client:
        value.close()


WRITES = {
    "pickle": pickle.dumps, "deepcopy": copy.deepcopy, "json": json.dumps, "msgspec": msgspec.json.encode,
    "vars": vars, "asdict": dataclasses.asdict,
}  # fmt: skip


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("kind", [cio.Client, cio.Settings], ids=lambda kind: kind.__name__)
def test_s01_nothing_writes_a_key_out(kind, write):
    """Whatever would write a client or its settings out is refused, or writes stars."""
    settings = cio.Settings(site_id="site", api_key=KEY)
    value = cio.Client(settings) if kind is cio.Client else settings
    written = None
    with contextlib.suppress(TypeError, AttributeError):
        written = write(value)
    assert not any(needle in repr(written) for needle in NEEDLES)
    if isinstance(value, cio.Client):
        value.close()


# What may hold text that is not ours, and where such a field was looked at and holds none.
SUSPECT = re.compile(r"\b(str|bytes|bytearray|Raw|Any|object|dict|Mapping|Sequence|Attributes|Persons?)\b")
LOOKED_AT = {
    "Automatic.excluded", "Automatic.request_event", "ObservedSender.base_url", "Served.method", "Served.route",
    "Change.attribute", "Change.event", "Change.text",  # of a tracking plan, which holds no event
    "Envelope.event_id", "Failure.error", "Metrics.component", "Outcome.base_url", "Outcome.error", "Overlay.owner",
    "Envelope.carrier", "Overlay.problem", "Parked.carrier", "Plan.name", "Plan.when", "Send.base_url",
    "Sender.base_url", "Settlement.base_url", "SpoolSettings.destination", "SpoolSettings.fsync", "SpoolSettings.path",
    "Stats.dropped", "_Makers.async_http_client", "_Makers.http_client",
    "_Run.chance", "_Run.successor", "_Run.time", "_Topic.state",
}  # fmt: skip


def modules() -> Iterator[Any]:
    """Every module of the package that runs in an application."""
    for module in pkgutil.walk_packages(cio.__path__, "cio_middleware."):
        if module.name.split(".")[1] not in {"__main__", "cli", "sandbox", "testing"}:
            yield importlib.import_module(module.name)


def test_s03_every_repr_that_nobody_wrote_shows_harmless_fields_only():
    """A field that a generated repr shows cannot hold a payload; a new one has to be hidden, or looked at."""
    shown = set()
    for module in modules():
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ != module.__name__:
                continue
            if dataclasses.is_dataclass(kind) and hasattr(kind.__repr__, "__wrapped__"):
                fields = {field.name: field.type for field in dataclasses.fields(kind) if field.repr}
            elif issubclass(kind, msgspec.Struct) and kind.__repr__ is msgspec.Struct.__repr__:
                fields = dict(kind.__annotations__)
            elif issubclass(kind, tuple) and hasattr(kind, "_fields") and "__repr__" not in vars(kind):
                fields = dict.fromkeys(kind._fields, "tuple")
            else:
                continue
            shown |= {f"{kind.__name__}.{name}" for name, type_ in fields.items() if SUSPECT.search(str(type_))}
    assert shown == LOOKED_AT


# ------------------------------------------------------------------------------------------------- what memory holds


def held_by(root: object) -> Iterator[str | bytes]:
    """Every text that `root` leads to, by way of our objects, those of the HTTP library and plain containers."""
    packages = {"cio_middleware", "httpx", "httpcore", "h11", "builtins", "collections", "functools"}
    seen, left = set(), deque([root])
    while left:
        here = left.popleft()
        if id(here) in seen or inspect.ismodule(here) or inspect.isclass(here) or inspect.isfunction(here):
            continue
        seen.add(id(here))
        if isinstance(here, (str, bytes, bytearray)):
            yield here if isinstance(here, str) else bytes(here)
        elif type(here).__module__.partition(".")[0] in packages or isinstance(here, (MethodType, msgspec.Struct)):
            left.extend(gc.get_referents(here))
            if isinstance(here, msgspec.Struct):
                left.extend(getattr(here, name) for name in here.__struct_fields__)


@pytest.mark.parametrize("source", ["file", "callable", "text"])
def test_s26_a_key_from_a_file_or_a_callable_is_not_kept(sandbox, tmp_path, monkeypatch, source):
    """After a delivery no object of the client holds such a key, nor does the environment; one given as text stays."""
    for name in ("API_KEY", "API_KEY_FILE"):
        monkeypatch.delenv(f"CUSTOMERIO_{name}", raising=False)
    (tmp_path / "key").write_text(KEY)
    given = {"file": tmp_path / "key", "callable": (tmp_path / "key").read_text, "text": KEY}[source]
    with cio.Client.from_env(**{**sandbox.settings, "site_id": "site", "api_key": given}) as client:
        client.track("step", person="ada")
        assert client.flush(5)
        assert client.stats().delivered == 1
        held = [text for text in held_by(client) for needle in NEEDLES if needle in str(text)]
    assert held == ([KEY] if source == "text" else [])
    assert CANARY not in repr(os.environ)
