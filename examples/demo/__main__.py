"""
`make demo`: a local Customer.io, two shops, twenty people, and the proof that nothing was lost.

Exit 0 only if every event that somebody caused is in the sandbox exactly once, with the right person and attributes.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import httpx

from cio_middleware.sandbox.store import Capacity, House
from cio_middleware.testing import Sandbox

from . import show, verdict
from .serve import REPORT
from .stage import CannotStart, Shop, shops
from .visitors import Person, plan, walk

SHOPS = ("starlette", "flask")
SERVERS = {"starlette": "uvicorn", "flask": "waitress"}
SITE_ID = "shop"
STEPS = ["ok", "429;retry_after=1", "ok", "503", "ok", "reset", "ok", "ack_lost", "ok", "429;retry_after=1"]
INJECTED = {"429": 2, "503": 1, "reset": 1, "ack_lost": 1}
WORDS = {
    "429": "429 (wait 1 s)", "503": "503", "reset": "connection reset", "ack_lost": "accepted but the reply lost",
}  # fmt: skip
PAUSE_SECONDS = (0.05, 0.25)
PATIENCE_SECONDS = 60.0


def main() -> int:
    """Run the demo; the exit code says whether the proof holds."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--lose-one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    started = time.monotonic()
    try:
        problems = _run(lose_one=options.lose_one)
    except CannotStart as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f'\nThe demo needs {error.name}. Type: make demo, or pip install ".[demo]"', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\n  Stopped. Nothing is left running.", file=sys.stderr)
        return 130
    if problems:
        print(f"  FAILED      {len(problems)} things are not as they should be:")
        print("\n".join(f"              {problem}" for problem in problems[:20]))
        return 1
    print(f"  took        {time.monotonic() - started:.1f} s")
    print("  next        read examples/demo/shop_starlette.py,")
    print("              or do it yourself: docs/tutorials/first-event.md")
    return 0


def _run(*, lose_one: bool) -> list[str]:
    people = plan(SHOPS)
    print("\n  Two shops, twenty people, and a Customer.io that fails five times.")
    print("  Nothing leaves this computer.\n")
    house = House(capacity=Capacity(events=50_000))
    with Sandbox.running(site_id=SITE_ID, house=house) as sandbox:
        settings = {
            "CUSTOMERIO_BASE_URL": sandbox.url, "CUSTOMERIO_SITE_ID": SITE_ID, "CUSTOMERIO_API_KEY": "demo",
            # The demo is short: five seconds, the default, would leave too few requests to fail.
            "CUSTOMERIO_FLUSH_INTERVAL": "0.5", "CUSTOMERIO_SHUTDOWN_TIMEOUT": "2",
            # What is measured below is what a real Customer.io would cost: nobody tells it where an event comes from.
            "CUSTOMERIO_SANDBOX_REPORTING": "false",
        }  # fmt: skip
        sandbox.faults.script(STEPS, match={"endpoint": "track.v2.batch"})
        print(f"  sandbox     {sandbox.url}   a local Customer.io")
        with shops(SHOPS, settings, lose_one=SHOPS[0] if lose_one else None) as running:
            for shop in running:
                print(f"  {shop.name:10}  {shop.url}   {SERVERS[shop.name]}, process {shop.pid}")
            print()
            try:
                reports = asyncio.run(_visit(people, running))
            except* (RuntimeError, httpx.HTTPError, TimeoutError) as errors:
                said = "\n".join(shop.last_words() for shop in running)
                raise CannotStart(f"{errors.exceptions[0]}\n{said}") from None
            words = [f"the {shop.name} shop said: {said}" for shop in running if (said := shop.last_words())]
        seen = verdict.Seen(sandbox.events(), list(sandbox.people), sandbox.requests())
    problems = _tell(people, running, reports, seen)
    # In an outage a client has something to say; it is of interest only when something is wrong.
    return [*words, *problems] if problems else []


async def _visit(people: Sequence[Person], running: Sequence[Shop]) -> dict[str, dict[str, Any]]:
    """Let all people loose at once; then have each shop deliver what it holds, and report."""
    progress = show.Progress(sum(len(person.steps) for person in people))
    urls = {shop.name: shop.url for shop in running}
    dice = random.Random(1)  # noqa: S311 - it paces visitors

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as crowd:
        for person in people:
            crowd.create_task(_one(person, urls[person.shop], dice, progress))
    progress.end()
    reports: dict[str, dict[str, Any]] = {}
    for shop in running:
        async with _browser(shop.url) as http:
            reports[shop.name] = (await http.get(REPORT)).json()
    return reports


async def _one(person: Person, url: str, dice: random.Random, progress: show.Progress) -> None:
    async with _browser(url) as http:
        await walk(person, http, lambda: dice.uniform(*PAUSE_SECONDS), progress.step)


def _browser(url: str) -> httpx.AsyncClient:
    # Plain HTTP on this machine: no certificates to load, no proxy to ask.
    no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(base_url=url, verify=no_tls, trust_env=False, timeout=30)


def _tell(
    people: Sequence[Person], running: Sequence[Shop], reports: dict[str, dict[str, Any]], seen: verdict.Seen
) -> list[str]:
    """Print what happened; return what is wrong with it."""
    captured: Counter[str] = Counter()
    for report in reports.values():
        captured.update(report["captured"])
    urls = {shop.name: shop.url for shop in running}
    problems = [problem for shop, report in reports.items() for problem in verdict.unbalanced(shop, report)]
    problems += verdict.quiet(INJECTED, seen.requests)
    problems += verdict.missing_and_wrong(people, urls, seen)
    faults = verdict.faults_of(seen.requests)
    blocks: list[Iterable[str]] = [
        show.injected(faults, WORDS),
        show.events(verdict.table(captured, seen)),
        show.ledgers(reports),
        show.costs(reports),
        () if problems else show.proof(captured.total(), len(people), verdict.strangers(seen)),
    ]
    print("\n\n".join("\n".join(block) for block in blocks))
    return problems


if __name__ == "__main__":
    sys.exit(main())
