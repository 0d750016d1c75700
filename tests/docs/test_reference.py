"""The reference says what the code says: settings, errors, values, spans and layers are compared, name by name."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import get_args
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cio_middleware import Client, DropReason, InvalidEvent, Settings, _semconv, _values, configure, exceptions
from cio_middleware.sandbox import changes, magic, query
from cio_middleware.sandbox.faults import ACTS
from docs import tables

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose first line begins with a head."""
    text = (DOCS / page).read_text("utf-8")
    table = re.search(rf"^\| {re.escape(head)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    assert table is not None, f"{page} has no table that begins with {head}"
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in table[1].splitlines()]


def code(cell: str) -> list[str]:
    """What a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("path", tables.TABLES, ids=lambda path: path.stem)
def test_a_table_that_follows_the_code_is_written_from_it(path):
    """Every setting and every doubt is there, with its default and its meaning. If not: python docs/tables.py."""
    assert path.read_text("utf-8") == tables.page(path)


def test_every_default_of_the_page_can_be_typed():
    """A default, copied into its variable, reads as the value that it stands for."""
    for name, variable, kind, default, _ in rows("reference/settings.md", "setting"):
        value = default.strip("`")
        if value != "none":
            read = getattr(Settings.from_env({code(variable)[0]: value}), code(name)[0])
            assert read == getattr(Settings(), code(name)[0]), name
            assert {"true, false": bool, "whole number": int, "number": float, "text": str}[kind] is type(read)


@pytest.mark.parametrize(
    "settings_of",
    [Settings.from_env, lambda **given: Client.from_env(**given).settings, lambda **given: configure(**given).settings],
    ids=["Settings.from_env", "Client.from_env", "configure"],
)
def test_an_argument_wins_over_the_environment_and_that_over_the_default(settings_of, monkeypatch):
    """What the page says of the three that read the environment."""
    for name, value in {"SITE_ID": "dev", "API_KEY": "dev", "FLUSH_AT": "7", "FLUSH_INTERVAL": "8"}.items():
        monkeypatch.setenv(f"CUSTOMERIO_{name}", value)

    settings = settings_of(backend="null", flush_interval=0.1)

    assert (settings.flush_interval, settings.flush_at, settings.max_age) == (0.1, 7, Settings().max_age)


def test_settings_by_themselves_read_no_environment(monkeypatch):
    """`Settings(...)` has arguments and defaults alone."""
    monkeypatch.setenv("CUSTOMERIO_FLUSH_AT", "7")
    assert Settings().flush_at == 100


def test_every_error_is_on_its_page():
    """Name, bases and whether it is retryable are those of the class, and no class is left out."""
    listed = rows("reference/errors.md", "error")
    errors = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)]

    assert [code(row[0])[0] for row in listed] == [kind.__name__ for kind in errors]
    for row, kind in zip(listed, errors, strict=True):
        assert code(row[1]) == [base.__name__ for base in kind.__bases__]
        retryable = getattr(kind, "retryable", None)
        assert row[2] == {None: "", True: "yes", False: "no"}[retryable]
        assert row[3]
        assert row[4]


def test_every_reason_of_a_drop_is_on_its_page():
    """The words of the page are the words of the code, in the same order."""
    assert [code(row[0])[0] for row in rows("reference/errors.md", "reason")] == [str(reason) for reason in DropReason]


class Colour(Enum):
    """An enum, for the page."""

    RED = "red"


@dataclass
class Point:
    """A dataclass, for the page."""

    x: int
    y: int


NAMES = {
    kind.__name__: kind
    for kind in (Colour, Decimal, Point, PurePosixPath, UUID, date, datetime, ip_address, time, timedelta, timezone)
} | {"UTC": UTC}
VALUES = rows("reference/values.md", "in Python")


@pytest.mark.parametrize(("given", "sent"), [(row[0], row[1]) for row in VALUES], ids=[row[0] for row in VALUES])
def test_a_value_becomes_what_the_page_says(given, sent):
    """The code in the left column, evaluated and encoded, is the JSON in the right one."""
    value = eval(code(given)[0], dict(NAMES))  # noqa: S307 - our own page
    assert _values.encode({"a": value}).json.decode() == f'{{"a":{code(sent)[0]}}}'


def _endless() -> list[object]:
    found: list[object] = []
    found.append(found)
    return found


WORDS = {"an hour": 3600, "64 MiB": 64 * 2**20}


def test_every_default_in_the_text_is_the_default():
    """Where a page says "`flush_at` events wait (100)", 100 is what the setting is without being set."""
    said = {
        (page.name, name, value)
        for page in DOCS.rglob("*.md")
        for name, value in re.findall(r"`([a-z_]+)`[^`(|.]*\(([^)]+)\)", page.read_text("utf-8"))
        if hasattr(Settings, name)
    }

    assert len(said) >= 10
    for page, name, value in said:
        number = WORDS.get(value) or float(value.removesuffix(" s").replace(",", ""))
        assert number == getattr(Settings(), name), f"{page} says that {name} is {value}"


@pytest.mark.parametrize(
    "value", [_endless(), list(range(20_001)), 10**309], ids=["contains-itself", "too-many", "too-long"]
)
def test_what_the_page_says_is_refused_is_refused(value):
    """The second table's rows raise `InvalidEvent`."""
    with pytest.raises(InvalidEvent):
        _values.encode({"a": value})


def test_every_span_attribute_is_on_its_page():
    """No attribute is undocumented, and none is documented that does not exist."""
    ours = {value for name, value in vars(_semconv).items() if name.isupper() and name not in {"SCOPE", "VERSION"}}
    ours.discard(_semconv.SCHEMA_URL)
    assert _documented() == ours


def test_the_spans_of_the_page_are_the_spans_that_a_backend_sees(sandbox):
    """A queued event that is sent twice, and a direct one, leave the rows of the page: name, kind and parent."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sandbox.faults.script(["503", "ok*"])

    for backend in ("queued", "direct"):
        settings = Settings(**sandbox.settings, backend=backend, retry_base=0.01)
        with (
            Client(settings, tracer_provider=provider) as client,
            provider.get_tracer("app").start_as_current_span("GET /"),
        ):
            client.track("order_placed", person="ada")

    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans if span.context}
    seen = [(span.name, span.kind.name, names.get(span.parent.span_id if span.parent else 0, "")) for span in spans]
    parents = {"the caller's": "GET /", "`send track`": "send track"}
    page = [
        (code(name)[0], kind, parents.get(parent, "")) for name, kind, parent, _ in rows("reference/spans.md", "span")
    ]
    assert set(seen) - {("GET /", "INTERNAL", "")} == set(page)
    assert seen.count(("POST", "CLIENT", "send track")) == 3
    assert all(set(span.attributes or {}) <= _documented() for span in spans)


def _documented() -> set[str]:
    return {code(row[0])[0] for row in rows("reference/spans.md", "attribute")}


def test_the_drawing_of_the_layers_is_the_one_that_is_checked():
    """A reader of the documentation and import-linter see the same layers."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = (DOCS / "explanation" / "architecture.md").read_text("utf-8")
    assert "```\n" + "\n".join(layers) + "\n```" in page


def test_every_metric_is_on_its_page():
    """No metric is undocumented, and none is documented that does not exist."""
    page = (ROOT / "docs/reference/metrics.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `customerio\.client\.([a-z_.]+)`", page, re.MULTILINE))
    source = (ROOT / "cio_middleware/_metrics.py").read_text("utf-8")
    ours = set(re.findall(r'"((?:event|send|queue|spool)\.[a-z_.]+)"', source))
    assert documented == ours


def test_every_term_of_the_filters_is_on_its_page():
    """The page has the examples that an error suggests; each can be read, and so can all of them in a line."""
    listed = [code(row[0])[0] for row in rows("reference/filters.md", "term")]
    assert listed == list(query.EXAMPLES.values())
    together = re.search(r"```text\n(.*)\n```", (DOCS / "reference" / "filters.md").read_text("utf-8"))
    assert together
    for text in [*listed, together[1]]:
        assert query.parse(text, 0).terms


def test_every_kind_of_frame_is_on_its_page():
    """What the log of changes can hold, and what only a stream says."""
    listed = [code(row[0])[0] for row in rows("reference/sandbox-stream.md", "event")]
    assert sorted(listed) == sorted([*get_args(changes.Kind), "hello", "lag"])


def test_every_fault_of_the_sandbox_is_on_its_page():
    """Each act with all of its members, in the order of the code, and each magic person of the examples."""
    page = {code(kind)[0]: ("type", *code(members)) for kind, members, _ in rows("reference/faults.md", "`do.type`")}
    assert page == ACTS
    text = (DOCS / "reference" / "faults.md").read_text("utf-8")
    assert all(f"`{person}`" in text for person in magic.EXAMPLES)
