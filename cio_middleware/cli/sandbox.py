"""
``cio-middleware sandbox``: a local Customer.io in the foreground, with a line for each event as it arrives.
"""

from __future__ import annotations

import errno
import json
import queue
import signal
import sys
import time
import urllib.request
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cio_middleware.cli.exits import Exit
from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox.plain import plain

if TYPE_CHECKING:
    import argparse

    from cio_middleware.sandbox.rows import EventRow

PORT = 8246
"""C-I-O on a telephone's keypad."""

BANNER = """\
  cio sandbox {version}   {url}
  Put this in your environment:
    export CUSTOMERIO_BASE_URL={url}
    export CUSTOMERIO_SITE_ID={site} CUSTOMERIO_API_KEY=dev
  Each event is a line:
    {legend}
  Nothing leaves this computer. Ctrl-C to stop.
"""
LEGEND = "● stored  ▲ stored, with advice  ■ refused  ◌ ignored  ◇ a repeat  ϟ injected fault  ∅ never sent"
GLYPHS = {
    "accepted": "●", "accepted_but": "▲", "rejected": "■", "fault": "ϟ", "duplicate": "◇", "ignored": "◌",
    "never_sent": "∅",
}  # fmt: skip
ATTRIBUTES = 48
"""Characters that the attributes may take; the whole of them is at ``/_sandbox/v1/events``."""
STAMPS = {
    "identify": "ID",
    "event": "EV",
    "page": "PG",
    "screen": "SC",
    "delete": "DL",
    "merge": "MG",
    "suppress": "SP",
    "send": "SD",
    "alias": "AL",
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = commands.add_parser("sandbox", help="run a local Customer.io", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help=f"0 takes a free one (default {PORT})")
    parser.add_argument("--site", default="dev", help="the site id that the banner shows; any other works too")
    parser.add_argument("--keep", type=int, default=5000, help="events to remember (default 5000)")
    parser.add_argument(
        "--registry", type=Path, metavar="FILE", help="names of events, in TOML, JSON or lines; others get an advice"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    try:
        from cio_middleware.sandbox import registry
        from cio_middleware.sandbox.server import SandboxServer
        from cio_middleware.sandbox.store import Capacity, House
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        raise ConfigurationError('the sandbox needs uvicorn. Type: pip install "cio-middleware[sandbox]"') from error

    house = House(
        capacity=Capacity(events=arguments.keep),
        on_event=lambda row: print(line(row), flush=True),
        registry=None if arguments.registry is None else registry.read(arguments.registry),
    )
    server = SandboxServer(port=arguments.port, house=house)
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    # SIGINT by name: a shell starts a background command with it ignored, and then no KeyboardInterrupt ever comes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: ended.put(received))
    try:
        server.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(_busy(arguments.port), file=sys.stderr)
        return Exit.PORT_BUSY
    version = _ask(server.url, "health")["version"]
    print(BANNER.format(version=version, url=server.url, site=arguments.site, legend=LEGEND), flush=True)
    received = ended.get()
    server.stop()
    return Exit.INTERRUPTED if received == signal.SIGINT else Exit.OK


def line(row: EventRow) -> str:
    """Return an event as one line; what came from outside cannot steer the terminal."""
    clock = time.strftime("%H:%M:%S", time.localtime(row.received_at)) + f".{int(row.received_at % 1 * 1000):03d}"
    tries = "" if len(row.statuses) == 1 else f"{len(row.statuses)} attempts"
    outcome = row.statuses[-1] if row.statuses else ""
    words = (
        clock,
        GLYPHS[row.verdict],
        STAMPS.get(row.kind, row.kind[:2].upper()),
        f"{cut(row.name or row.kind, 28):28}",
        f"{cut(row.person or '', 20):20}",
        f"{outcome}",
        tries,
        cut(_attributes(row.data), ATTRIBUTES),
        _said(row),
    )
    return "  ".join(plain(word) for word in words if word).rstrip()


def _attributes(attributes: Any) -> str:
    """What the caller gave, as ``total=42 plan=pro``: two events of one name can be told apart."""
    if not isinstance(attributes, dict):
        return ""
    given = {name: value for name, value in attributes.items() if name != "context" and not name.startswith("_")}
    return " ".join(f"{name}={_value(value)}" for name, value in islice(given.items(), ATTRIBUTES))


def _value(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    text = value[:ATTRIBUTES]  # more of it than that is cut anyway
    bare = text and not set(text) & set(' ="')
    return text if bare else json.dumps(text, ensure_ascii=False)


def _said(row: EventRow) -> str:
    """What is wrong, and for what was stored all the same, the first clause of what to do about it."""
    findings = (*row.errors, *row.warnings)
    if not findings:
        return ""
    finding = findings[0]
    what = finding.explain or finding.message
    advice = finding.fix.split(", ")[0].rstrip(".") if row.verdict == "accepted_but" else ""
    return f"{what}. {advice}." if advice else what


def cut(text: str, width: int) -> str:
    """Return text no wider than so many characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _busy(port: int) -> str:
    try:
        info = _ask(f"http://127.0.0.1:{port}", "info")
    except (OSError, ValueError, KeyError):
        return f"Port {port} is in use by another program. Choose another: cio-middleware sandbox --port 0"
    count = len(info["workspaces"])
    return (
        f"Port {port} is in use by cio sandbox {info['version']} ({count} workspaces). "
        "Use that one, or start another: cio-middleware sandbox --port 0"
    )


def _ask(url: str, what: str) -> Any:
    # No proxy of the environment may come between: this is this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/_sandbox/v1/{what}", timeout=2) as reply:
        return json.load(reply)
