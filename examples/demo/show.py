"""
What the demo prints: tables as text, none wider than 80 columns, and a progress line.
"""

from __future__ import annotations

import statistics
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from .verdict import Row

WIDTH = 80
BAR = 24
COLUMNS = ("captured", "delivered", "sent again", "repeats ignored")
LEDGER = {
    "captured": "captured", "delivered": "delivered", "dead_lettered": "dead letters", "dropped": "dropped",
    "parked": "parked", "pending": "pending",
}  # fmt: skip
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


def injected(faults: Mapping[str, int], words: Mapping[str, str]) -> Iterable[str]:
    """Each fault with how often it struck."""
    yield from _wrapped("injected", ", ".join(f"{faults[fault]} x {said}" for fault, said in words.items()))


def ledgers(reports: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Where each shop's events are, by its own count: the left side is the sum of the right side."""
    yield f"  {'ledger':12}" + _sum(list(LEDGER.values()))
    for shop, report in reports.items():
        counts = {**report["ledger"], "dropped": sum(report["dropped"].values())}
        yield f"  {shop:12}" + _sum([str(counts[name]) for name in LEDGER])
    requests = (
        f"{shop} {report['ledger']['requests']}, {report['ledger']['retries']} of them retries"
        for shop, report in reports.items()
    )
    yield from _wrapped("requests", "; ".join(requests))


def costs(reports: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Microseconds that the middleware added to a request, and that a verb took."""
    heads = ("no event", "with events", *VERBS)
    yield f"  {'µs':12}p50 / p99 added to a request by the middleware, taken by a verb"
    yield f"  {'':12}" + "".join(f"{head:>13}" for head in heads)
    for shop, report in reports.items():
        columns = (report["idle"], report["busy"], *(report["verbs"][verb] for verb in VERBS))
        yield f"  {shop:12}" + "".join(f"{p50_p99(values):>13}" for values in columns)
    yield f"  {'':12}The p99 on a busy machine, like this one, is mostly the machine."


def proof(count: int, people: int, strangers: int) -> Iterable[str]:
    """What a run in which nothing is wrong has shown."""
    yield from _wrapped(
        "PROVED",
        f"All {count} are in Customer.io exactly once, each with the one of {people} people who did it, with the right"
        f" attributes and the page that it came from. {strangers} happened before anybody had signed in, and found"
        " their person afterwards.",
    )


def p50_p99(nanoseconds: Sequence[int]) -> str:
    """The median and the 99th percentile, in microseconds, in no more than a column of the table takes."""
    if len(nanoseconds) < 2:
        return "-"
    cuts = statistics.quantiles(nanoseconds, n=100, method="inclusive")
    return f"{_at_most(cuts[49] / 1000, 999)} / {_at_most(cuts[98] / 1000, 9999)}"


def _at_most(microseconds: float, most: int) -> str:
    return f"{microseconds:.0f}" if microseconds <= most else f">{most}"


def _width(head: str) -> int:
    return max(len(head) + 3, 13)


def _sum(cells: Sequence[str]) -> str:
    taken_in, *places = (f"{cell:>{len(head)}}" for cell, head in zip(cells, LEDGER.values(), strict=True))
    return f"{taken_in} = {' + '.join(places)}"


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {head:12}", subsequent_indent=" " * 14)


def _counts(row: Row) -> tuple[int, int, int, int]:
    return row.captured, row.delivered, row.sent_again, row.repeats
