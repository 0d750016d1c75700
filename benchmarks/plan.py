"""
What is measured, and what each figure has to reach.

A scenario is run by its players in turn, several times over; a row of the table sets two of its figures in relation.
The targets are those of the first release; what they will become is in docs/explanation/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of the table: a figure of ours beside the same figure, or `against` another one, of `peer`.

    `at_most` and `at_least` bound the ratio, ours to theirs. `absolute` bounds our own figure instead. Where events are
    counted there is no ratio, and `peer` may name several.
    """

    metric: str
    figure: str
    peer: str
    against: str = ""
    at_most: float | None = None
    at_least: float | None = None
    absolute: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    Something that players do, as `module.function`.

    `sizes` are events or requests, in full and with `--quick`. `sink` are its faults. `counts` marks a scenario that
    loses events or not: its players run at the same time and have the figure `lost`, of which the worst is shown.
    """

    name: str
    does: str
    players: tuple[str, ...]
    sizes: tuple[int, int]
    rows: tuple[Row, ...]
    reps: int = 5
    sink: dict[str, Any] = field(default_factory=dict)
    leaves: bool = False
    counts: bool = False


def _lost(
    name: str,
    does: str,
    sizes: tuple[int, int],
    what: str,
    *,
    peers: tuple[str, ...] = ("segment", "cdp"),
    leaves: bool = False,
    **sink: Any,
) -> Scenario:
    rows = (Row(f"lost: {what}", "lost", " ".join(peers), absolute=0),)
    return Scenario(name, f"losses.{does}", ("ours", *peers), sizes, rows, 3, sink, leaves, counts=True)


PLAN = (
    Scenario(
        "burst",
        "speed.burst",
        ("ours", "segment", "floor"),
        (5000, 300),
        (
            Row("track() in a burst, median µs", "median", "segment", at_most=1 / 4),
            Row("the same, p99 µs", "p99", "segment", absolute=100),
            Row("track() in a burst, median µs", "median", "floor"),
        ),
        reps=9,
    ),
    Scenario(
        "paced",
        "speed.paced",
        ("ours", "segment", "floor"),
        (800, 50),
        (
            Row("track() every ms, median µs", "median", "segment", at_most=1 / 3),
            Row("track() every ms, median µs", "median", "floor"),
        ),
        reps=7,
    ),
    Scenario(
        "request",
        "serving.in_request",
        ("ours",),
        (4000, 80),
        (
            # The context is encoded once per request: its first event pays for that, the others are held to the target.
            Row("first track() of a request, µs, and outside", "first", "ours", "bare"),
            Row("further track() of a request, µs, and outside", "further", "ours", "bare", at_most=2),
        ),
    ),
    Scenario(
        "rate",
        "speed.rate",
        ("ours", "cdp", "floor"),
        (20_000, 500),
        (
            Row("events per second", "per_second", "cdp", at_least=3),
            Row("CPU ms per 1,000 events", "cpu_ms", "cdp", at_most=1 / 3),
            Row("events per second", "per_second", "floor"),
            Row("CPU ms per 1,000 events", "cpu_ms", "floor"),
        ),
    ),
    Scenario(
        "latency",
        "speed.rate_default",
        ("ours", "cdp"),
        (6000, 200),
        (Row("events per second, replies after 50 ms", "per_second", "cdp", at_least=1),),
        sink={"delay": 0.05},
    ),
    Scenario(
        "memory",
        "speed.memory",
        ("ours", "segment"),
        (20_000, 500),
        (Row("bytes per queued event", "bytes", "segment", at_most=1 / 2),),
        reps=2,
        sink={"delay": 3600},
    ),
    Scenario(
        "spool",
        "spool.burst",
        ("ours",),
        (5000, 300),
        (Row("track() on the spool, median µs, and in memory", "spool", "ours", "memory", at_most=2),),
    ),
    Scenario(
        "writers",
        "spool.writers",
        ("ours",),
        (20_000, 300),
        (Row("track() of 4 processes on one spool, p99.9 ms", "stall_ms", "", absolute=50),),
        reps=3,
    ),
    Scenario(
        "drain",
        "spool.drain",
        ("ours",),
        (200_000, 2000),
        (Row("an event out of a spool, µs from file to ack", "us", "", absolute=10),),
        reps=3,
    ),
    Scenario(
        "backlog",
        "spool.backlog",
        ("ours",),
        (1024, 16),
        (Row("MiB of memory for draining a spool of 1 GiB", "mib", "", absolute=64),),
        reps=1,
    ),
    Scenario(
        "asgi",
        "serving.asgi",
        ("ours", "posthog"),
        (4000, 80),
        (
            Row("ASGI middleware, µs added per request", "added", "posthog", at_most=1),
            Row("a request of Starlette, µs with ours and bare", "wrapped", "ours", "bare"),
        ),
    ),
    Scenario(
        "wsgi",
        "serving.wsgi",
        ("ours", "posthog"),
        (4000, 80),
        (
            Row("WSGI middleware, µs added per request", "added", "posthog", at_most=1),
            Row("a request of Flask, µs with ours and bare", "wrapped", "ours", "bare"),
        ),
    ),
    Scenario(
        "import",
        "startup.importing",
        ("ours", "parts"),
        (1, 1),
        (Row("import, ms", "ms", "parts", at_most=2),),
        reps=11,
    ),
    _lost("exit", "leaves", (1000, 100), "exit right after 1,000 events", leaves=True),
    _lost("outage", "outage", (16_000, 400), "3 s without a server", down_at=0.5, down_for=3.0),
    _lost("bad400", "bad", (4000, 40), "beside 4 bad in 4,000, answered 400", refuse="batch"),
    # Their servers never answer that, so the peers need not understand it.
    _lost("bad207", "bad", (4000, 40), "beside 4 bad in 4,000, answered 207", peers=(), refuse="item"),
    _lost("fork", "fork", (500, 20), "fork with 50 queued, 3 x 500 after"),
)
