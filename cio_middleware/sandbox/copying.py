"""
An event as something to paste: a test that runs, and a curl that sends it again.

Neither holds a credential: curl signs with the workspace's site id and the key ``dev``, since any key is taken, and the
test with what its fixture says. What was stored is sent again under a new id, because under the old one it would be a
repeat.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cio_middleware.sandbox.advice import is_ulid
from cio_middleware.sandbox.pythontext import literal
from cio_middleware.sandbox.verdicts import Verdict

if TYPE_CHECKING:
    from cio_middleware.sandbox.attempt import Attempt
    from cio_middleware.sandbox.rows import EventRow, RequestRow

ARGUMENT_BYTES = 100_000
"""What a shell passes on one line without complaint; a longer body comes from a here-document."""

SHORT = 50
"""Characters of attributes that stand in the call itself; longer ones get a name."""

KEPT_HEADERS = ("content-type", "x-strict-mode")
VERBS = {"event": "track", "page": "page", "screen": "screen"}
HARMLESS = frozenset({"W-no-identify-yet"})
"""Warnings that an event through the library's client may have in an empty workspace too."""

STEPS = {"reset": "reset", "hang": "reset", "garbage": "html", "ack_lost": "ack_lost"}
STEPS_MOST = 5
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True, slots=True)
class Original:
    """What is copied: a row, the request that brought it, and the body that would bring this event alone."""

    row: EventRow
    request: RequestRow
    body: str

    @property
    def path(self) -> str:
        """The path and the query, as they were sent."""
        return f"{self.request.path}?{self.request.query}" if self.request.query else self.request.path

    @property
    def headers(self) -> dict[str, str]:
        """Those of its headers that decide what becomes of it."""
        sent = dict(self.request.headers)
        return {name: sent[name] for name in KEPT_HEADERS if name in sent}

    @property
    def key(self) -> str:
        """What signs it: a pair, a write key with a blank password, a bearer key; nothing, where that was missing."""
        if any(finding.code == "E-unauthorized" for finding in self.row.errors):
            return ""
        return {"pipelines": "write key", "app": "bearer"}.get(self.row.api, "pair")


def curl(original: Original, origin: str) -> str:
    """Return a command that sends the event again."""
    words = ["curl -sS -i --noproxy '*' --globoff --path-as-is"]
    site = shlex.quote(original.row.workspace)
    if original.key:
        signed = {"write key": f"-u {site}:", "bearer": "-H 'Authorization: Bearer dev'"}
        words.append(signed.get(original.key, f"-u {shlex.quote(f'{original.row.workspace}:dev')}"))
    words.append(f"-X {original.request.method} {shlex.quote(origin + original.path)}")
    body = _renewed(original)
    if not body:
        return " \\\n  ".join(words)
    headers = {"content-type": "", **original.headers}  # without one, curl says that it is a form
    words += [f"-H {shlex.quote(f'{name}: {value}'.rstrip())}" for name, value in headers.items()]
    if len(body.encode("utf-8", "replace")) <= ARGUMENT_BYTES:
        return " \\\n  ".join([*words, f"--data-raw {shlex.quote(body)}"])
    mark = "CIO"
    while mark in body:
        mark += "O"
    return " \\\n  ".join([*words, f"--data-binary @- <<'{mark}'"]) + f"\n{body}\n{mark}"


def pytest(original: Original) -> str:
    """Return a test for whoever has the pytest plugin: through the client where it can say this, else byte by byte."""
    row = original.row
    plain = row.verdict in {Verdict.ACCEPTED, Verdict.FAULT} or (
        row.verdict is Verdict.ACCEPTED_BUT and {finding.code for finding in row.warnings} <= HARMLESS
    )
    said = _call(row) if plain else None
    return _replayed(original) if said is None else _through_client(row, *said)


def _call(row: EventRow) -> tuple[str, str] | None:
    """Return the lines that say this, and what to wait for; None when the client's verbs cannot say it."""
    if (
        row.api == "app"
        or row.subject != "person"
        or not isinstance(row.identifiers, dict)
        or len(row.identifiers) != 1
    ):
        return None
    ((kind, value),) = row.identifiers.items()
    if kind not in {"id", "anonymous_id"} or not isinstance(value, str):
        return None
    data = row.data if isinstance(row.data, dict) else {}
    data = {name: value for name, value in data.items() if name != "context" and not name.startswith("_")}
    short = literal(data)
    begin, short = (
        ("", short) if "\n" not in short and len(short) <= SHORT else (f"data = {literal(data, 4)}\n    ", "data")
    )
    shown = f", {short}" if data else ""
    whose = f"{'person' if kind == 'id' else kind}={literal(value)}"
    wanted = f"person={literal(value)}{f', data={short}' if data else ''}{', timeout=30' if _steps(row) else ''}"
    if row.kind in VERBS and row.name:
        name, kind_of = literal(row.name), "" if row.kind == "event" else f', kind="{row.kind}"'
        return f"{begin}cio.{VERBS[row.kind]}({name}{shown}, {whose})", f"{name}, {wanted}{kind_of}"
    if row.kind == "identify" and kind == "id" and data:
        return f"{begin}cio.identify({literal(value)}{shown})", f'kind="identify", {wanted}'
    return None


def _through_client(row: EventRow, call: str, wanted: str) -> str:
    steps = _steps(row)
    mark = f"import pytest\n\n\n@pytest.mark.cio(faults={literal([*steps, 'ok*'])})\n" if steps else ""
    return (
        f"{mark}def {_test_name(row)}(cio_sandbox, cio):\n"
        f"    {_docstring(row)}\n"
        f"    {call}  # or let your app do it\n"
        f"    cio_sandbox.flush()\n\n"
        f"    event = cio_sandbox.wait_for({wanted})\n"
        f"    assert event.attempts == {len(steps) + 1}\n"
    )


def _replayed(original: Original) -> str:
    row, body = original.row, _renewed(original)
    headers = [f"{literal(name)}: {literal(value)}" for name, value in original.headers.items()]
    if original.key == "bearer":
        headers.append('"authorization": f"Bearer {cio_sandbox.site_id}"')
    password = '""' if original.key == "write key" else '"dev"'
    arguments = [
        f"{literal(original.request.method)}, cio_sandbox.url + {literal(original.path)}",
        f"content={body!r}.encode()" if body else "",
        f"headers={{{', '.join(headers)}}}" if headers else "",
        f"auth=(cio_sandbox.site_id, {password})" if original.key in {"pair", "write key"} else "",
        "trust_env=False",
    ]
    said = "".join(f"            {argument},\n" for argument in arguments if argument)
    again = "    send()\n" if row.verdict is Verdict.DUPLICATE else ""
    return (
        "import httpx\nimport pytest\n\n\n"
        "@pytest.mark.cio(allow_problems=True)\n"
        f"def {_test_name(row)}(cio_sandbox):\n"
        f"    {_docstring(row)}\n\n"
        f"    def send():\n        return httpx.request(\n{said}        )\n\n"
        f"{again}    reply = send()\n"
        f"    assert reply.status_code == {_expected_status(original)}\n"
        f"{_expected_row(row)}"
    )


def _expected_status(original: Original) -> int | str:
    row, status = original.row, original.request.status
    return status if row.verdict is not Verdict.FAULT and status is not None else 200


def _expected_row(row: EventRow) -> str:
    if row.verdict is Verdict.REJECTED and row.subject != "request":
        codes = [finding.code for finding in row.errors]
        return (
            f'    (event,) = cio_sandbox.events(verdict="rejected")\n'
            f"    assert [error.code for error in event.errors] == {literal(codes)}\n"
        )
    if row.verdict is Verdict.DUPLICATE and row.name:
        return f"    assert cio_sandbox.duplicates({literal(row.name)}) == 1\n"
    if row.verdict.stored:
        return "    assert len(cio_sandbox.good) == 1\n"
    return ""


def _steps(row: EventRow) -> list[str]:
    """Return the faults that the event met, as a script; none when there was one that a script cannot say."""
    met = row.attempts_log if row.verdict is Verdict.FAULT else row.attempts_log[:-1]
    steps = [_step(attempt) for attempt in met[-STEPS_MOST:]]
    return [step for step in steps if step] if all(steps) else []


def _step(attempt: Attempt) -> str | None:
    if attempt.fault != "status":
        return STEPS.get(attempt.fault or "")
    waits = f";retry_after={min(attempt.retry_after, 1):g}" if attempt.retry_after is not None else ""
    return f"{attempt.status}{waits}"


def _test_name(row: EventRow) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", (row.name or row.kind or "event").lower()).strip("_")[:60] or "event"
    outcome = "" if row.verdict.stored else f"_is_{row.verdict}" if row.verdict is not Verdict.FAULT else "_gets_in"
    return f"test_{words}{outcome}"


def _docstring(row: EventRow) -> str:
    said = re.sub(r"[^\x20-\x7e]+", " ", f"Event {row.seq} of the sandbox: {row.headline}")[:100]
    return '"""' + said.replace("\\", "/").replace('"', "'").rstrip() + '."""'


def _renewed(original: Original) -> str:
    row = original.row
    pipelines = row.api == "pipelines"
    if not row.verdict.stored or row.event_id is None or not (pipelines or is_ulid(row.event_id)):
        return original.body
    name = "messageId" if pipelines else "id"
    member = re.compile(rf"(\"{name}\"\s*:\s*){re.escape(json.dumps(row.event_id))}")
    return member.sub(rf'\g<1>"{_ulid()}"', original.body)


def _ulid() -> str:
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
