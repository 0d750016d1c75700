"""
What the demo prints: tables as text, and a progress line.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from .verdict import Row

BAR = 24
COLUMNS = ("captured", "delivered", "retried", "duplicates ignored")
LEDGER = ("captured", "delivered", "dead_lettered", "dropped", "parked", "pending")
VERBS = ("track", "page", "identify")


class Progress:
    """One line that is rewritten in place on a terminal, and a line every two seconds elsewhere."""

    def __init__(self, total: int, out: TextIO = sys.stdout) -> None:
        self._total = total
        self._out = out
        self._in_place = out.isatty()
        self._said_at = time.monotonic()
        self.done = 0

    def step(self) -> None:
        """One request more is answered."""
        self.done += 1
        every = 0.1 if self._in_place else 2.0
        if time.monotonic() - self._said_at >= every or self.done == self._total:
            self._said_at = time.monotonic()
            self.say(f"{self.done} of {self._total} requests")

    def say(self, words: str) -> None:
        """Show how far it is."""
        filled = round(BAR * self.done / self._total)
        line = f"  visiting    {'#' * filled}{'.' * (BAR - filled)}  {words}"
        print(
            f"\r{line}\x1b[K" if self._in_place else line,
            end="" if self._in_place else "\n",
            file=self._out,
            flush=True,
        )

    def end(self) -> None:
        """Leave the line as it is."""
        if self._in_place:
            print(file=self._out, flush=True)


def events(rows: Sequence[Row]) -> Iterable[str]:
    """The table of events."""
    total = Row("total", *(sum(column) for column in zip(*(_counts(row) for row in rows), strict=True)))
    yield f"  {'event':16}" + "".join(f"{column:>{_width(column)}}" for column in COLUMNS)
    for row in (*rows, total):
        cells = zip(_counts(row), COLUMNS, strict=True)
        yield f"  {row.name:16}" + "".join(f"{count:>{_width(column)}}" for count, column in cells)


def ledgers(reports: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Where each shop's events are, by its own count: the left side is the sum of the right side."""
    yield f"  {'ledger':12}" + _sum([name.replace("_", " ") for name in LEDGER]) + f"{'requests':>11}{'retries':>9}"
    for shop, report in reports.items():
        counts = {**report["ledger"], "dropped": sum(report["dropped"].values())}
        more = f"{counts['requests']:>11}{counts['retries']:>9}"
        yield f"  {shop:12}" + _sum([str(counts[name]) for name in LEDGER]) + more


def costs(reports: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Microseconds that the middleware added to a request, and that a verb took."""
    heads = ("request without event", "request with events", *VERBS)
    yield f"  {'p50 / p99':12}" + "".join(f"{head:>{_width(head)}}" for head in heads) + "   µs, added"
    for shop, report in reports.items():
        columns = (report["idle"], report["busy"], *(report["verbs"][verb] for verb in VERBS))
        cells = zip(columns, heads, strict=True)
        yield f"  {shop:12}" + "".join(f"{p50_p99(values):>{_width(head)}}" for values, head in cells)


def proof(count: int, people: int, strangers: int) -> Iterable[str]:
    """What a run in which nothing is wrong has shown."""
    yield f"  PROVED      All {count} are in Customer.io exactly once, each with the one of {people} people who did it,"
    yield "              with the right attributes and the page that it came from."
    yield f"              {strangers} happened before anybody had signed in, and found their person afterwards."


def p50_p99(nanoseconds: Sequence[int]) -> str:
    """The median and the 99th percentile, in microseconds."""
    if len(nanoseconds) < 2:
        return "-"
    cuts = statistics.quantiles(nanoseconds, n=100, method="inclusive")
    return f"{cuts[49] / 1000:.0f} / {cuts[98] / 1000:.0f}"


def _width(head: str) -> int:
    return max(len(head) + 3, 14)


def _sum(cells: Sequence[str]) -> str:
    taken_in, *places = (f"{cell:>{max(len(name), 8)}}" for cell, name in zip(cells, LEDGER, strict=True))
    return f"{taken_in} = {' + '.join(places)}"


def _counts(row: Row) -> tuple[int, int, int, int]:
    return row.captured, row.delivered, row.retried, row.repeats
