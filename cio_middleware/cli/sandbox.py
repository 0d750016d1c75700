"""
``cio-middleware sandbox``: a local Customer.io in the foreground, with a line for each event as it arrives.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import queue
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cio_middleware import __version__
from cio_middleware.cli.exits import Exit
from cio_middleware.cli.ports import holder
from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox.plain import plain

if TYPE_CHECKING:
    from cio_middleware.sandbox.rows import EventRow
    from cio_middleware.sandbox.server import SandboxServer
    from cio_middleware.sandbox.store import House
    from cio_middleware.sandbox.veil import Veil

PORT = 8246
"""C-I-O on a telephone's keypad."""

BANNER = """\
  cio sandbox {version}   {url}
  Put this in your environment:
    export CUSTOMERIO_BASE_URL={url}
    export CUSTOMERIO_SITE_ID={site} CUSTOMERIO_API_KEY={key}
  Each event is a line:
    {legend}
{last}"""
NOTHING_LEAVES = "  Nothing leaves this computer. Ctrl-C to stop.\n"
OTHERS_REACH = "  OTHERS CAN REACH THIS: every call needs the token, which is the API key above.\n"
ENTER = """\
  To look, open this link; it works once:
    {link}
  Programs send the header X-Cio-Token. Ctrl-C to stop.
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
    say = parser.add_argument
    say("--host", default="127.0.0.1", help="the address to listen at; any but this machine's own needs --token")
    say("--port", type=_port, default=PORT, help=f"0 takes a free one (default {PORT})")
    say("--token", metavar="auto|VALUE", help="every call must bring it; auto makes one up and shows it")
    say("--allow-host", action="append", default=[], metavar="NAME", help="another name that it may be called by")
    say("--allow-origin", action="append", default=[], metavar="ORIGIN", help="a web origin whose pages may call it")
    say("--allow-webhook-host", action="append", default=[], metavar="NAME", help="where webhooks may go as well")
    say("--redact", default="", metavar="FIELDS", help="mask these in all that is shown, such as email,phone")
    say("--db", type=Path, metavar="PATH", help="keep everything in this file, over a restart")
    say("--strict", action="store_true", help="events that were stored with warnings count as bad")
    say("--region", choices=("us", "eu"), default="us", help="the region that it says it is in (default us)")
    say("--site", default="dev", help="the site id that the banner shows; any other works too")
    say("--keep", type=_count, default=5000, help="events to remember (default 5000)")
    say("--registry", type=Path, metavar="FILE", help="names of events, in TOML, JSON or lines; others get an advice")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of events: from 1 to 10000000")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    try:
        from cio_middleware.sandbox.server import SandboxServer
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        raise ConfigurationError('the sandbox needs uvicorn. Type: pip install "cio-middleware[sandbox]"') from error

    house = _house(arguments)
    try:
        return _serve(SandboxServer(arguments.host, arguments.port, house=house), arguments, house)
    finally:
        if house.archive is not None:
            house.archive.close()


def _serve(server: SandboxServer, arguments: argparse.Namespace, house: House) -> int:
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    # SIGINT by name: a shell starts a background command with it ignored, and then no KeyboardInterrupt ever comes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: ended.put(received))
    try:
        server.start()
    except OSError as error:
        print(_unbound(error, arguments), file=sys.stderr)
        return Exit.PORT_BUSY if error.errno == errno.EADDRINUSE else Exit.CONFIGURATION
    print(_banner(server.url, arguments.site, house), flush=True)
    received = ended.get()
    server.stop()
    return Exit.INTERRUPTED if received == signal.SIGINT else Exit.OK


def _house(arguments: argparse.Namespace) -> House:
    from cio_middleware.sandbox import registry
    from cio_middleware.sandbox.archive import Archive
    from cio_middleware.sandbox.entrance import Access
    from cio_middleware.sandbox.store import Capacity, House
    from cio_middleware.sandbox.veil import Veil

    veil = Veil(tuple(name.strip() for name in arguments.redact.split(",") if name.strip()))
    access = Access(
        hosts=tuple(arguments.allow_host),
        origins=tuple(arguments.allow_origin),
        token=arguments.token,
        webhook_hosts=tuple(arguments.allow_webhook_host),
    )
    db = None if arguments.db is None else Archive(arguments.db)
    return House(
        archive=db,
        capacity=Capacity(events=arguments.keep),
        on_event=lambda row: print(line(_masked(row, veil)), flush=True),
        access=access,
        veil=veil,
        strict=arguments.strict,
        region=arguments.region,
        registry=None if arguments.registry is None else registry.read(arguments.registry),
    )


def _masked(row: EventRow, veil: Veil) -> EventRow:
    if not veil:
        return row
    shown = veil.over({"identifiers": row.identifiers, "person": row.person, "name": row.name, "data": row.data})
    return replace(row, person=shown["person"], name=shown["name"], data=shown["data"])


def _banner(url: str, site: str, house: House) -> str:
    here = re.sub(r"//(?:0\.0\.0\.0|\[::\])", "//127.0.0.1", url)
    key, last = "dev", NOTHING_LEAVES
    if house.access.token is not None:
        key = house.access.token
        last = red(OTHERS_REACH) + ENTER.format(link=here + house.access.ticket())
    if house.veil:
        last = f"  Masked in all that is shown: {', '.join(house.veil.fields)}\n{last}"
    return BANNER.format(version=__version__, url=here, site=site, key=key, legend=LEGEND, last=last)


def red(text: str) -> str:
    """Return text in red, for a terminal that may be coloured."""
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\x1b[31m{text}\x1b[0m" if coloured else text


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


def _unbound(error: OSError, arguments: argparse.Namespace) -> str:
    host, port = arguments.host, arguments.port
    if error.errno == errno.EADDRINUSE:
        return _busy(port)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"Port {port} is not for everybody to open. Choose one from 1024: cio-middleware sandbox --port {PORT}"
    return f"{plain(host)!r:.80} is no address of this machine. Type: --host 127.0.0.1, or 0.0.0.0 for all of them"


def _busy(port: int) -> str:
    another = "cio-middleware sandbox --port 0"
    try:
        info = _ask(f"http://127.0.0.1:{port}", "info")
    except urllib.error.HTTPError as error:
        if error.code == 401 and b"CIO-SBX-010" in error.read(10_000):
            return f"Port {port} is in use by a cio sandbox that asks for its token. Start another: {another}"
        return _other(port, another)
    except (OSError, ValueError):
        return _other(port, another)
    if not isinstance(info, dict) or not isinstance(info.get("workspaces"), list):
        return _other(port, another)
    count = len(info["workspaces"])
    return (
        f"Port {port} is in use by cio sandbox {info.get('version')} (pid {info.get('pid')}, {count} workspaces). "
        f"Use that one, or start another: {another}"
    )


def _other(port: int, another: str) -> str:
    found = holder(port)
    return f"Port {port} is in use by {plain(found) if found else 'another program'}. Choose another: {another}"


def _ask(url: str, what: str) -> Any:
    # No proxy of the environment may come between: this is this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/_sandbox/v1/{what}", timeout=2) as reply:
        return json.load(reply)
