"""From the figures of all repetitions to one table, and to a file that holds them all."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .plan import Row, Scenario

Repetition = Mapping[str, Mapping[str, float]]
"""What each player measured in one repetition of a scenario, by name."""
Results = Sequence[tuple[Scenario, Sequence[Repetition]]]
"""Each scenario with its repetitions, in the order of the plan."""
Cells = tuple[str, ...]

RESULTS = Path(__file__).parent / "results" / "latest.json"
_HEAD = ("metric", "ours", "peer", "ratio", "target", "met")


def table(results: Results) -> str:
    """The table, in Markdown, so that a page can quote it."""
    lines = [_HEAD, *(_cells(row, reps) for row, reps in _rows(results))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def machine() -> str:
    """What the figures were taken on, without which the absolute ones mean nothing."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, {python}{load}"


def save(results: Results, seconds: float) -> None:
    """Keep every figure of every repetition."""
    RESULTS.parent.mkdir(exist_ok=True)
    (RESULTS.parent / ".gitignore").write_text("*\n", "utf-8")
    raw = {scenario.name: list(repetitions) for scenario, repetitions in results}
    found = {"machine": machine(), "seconds": round(seconds), "scenarios": raw}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _rows(results: Results) -> Iterator[tuple[Row, Sequence[Repetition]]]:
    for scenario, repetitions in results:
        for row in scenario.rows:
            yield row, repetitions


def _cells(row: Row, repetitions: Sequence[Repetition]) -> Cells:
    ours = [figures["ours"][row.figure] for figures in repetitions]
    # The worst run is what counts of those that may lose events.
    typical = max if row.figure == "lost" else statistics.median
    mine, ratio, theirs = typical(ours), None, []
    for peer in row.peer.split():
        figures = [figures[peer][row.against or row.figure] for figures in repetitions if peer in figures]
        theirs.append(f"{_number(typical(figures))} {row.against or peer}" if figures else f"no {peer} here")
        if figures and row.figure != "lost":
            # Of each repetition by itself, so that what slows the machine down for a minute slows both.
            ratio = statistics.median(a / b for a, b in zip(ours, figures, strict=True))
    ratio_cell = "-" if ratio is None else f"{ratio:.2f}"
    return row.metric, _number(mine), ", ".join(theirs) or "-", ratio_cell, _target(row), _met(row, mine, ratio)


def _target(row: Row) -> str:
    if row.absolute is not None:
        return f"≤ {row.absolute:g}" if row.absolute else "0"
    if row.at_most is not None:
        return f"ratio ≤ {row.at_most:.3g}"
    return f"ratio ≥ {row.at_least:.3g}" if row.at_least is not None else "-"


def _met(row: Row, mine: float, ratio: float | None) -> str:
    if row.absolute is not None:
        met = mine <= row.absolute
    elif ratio is None or row.at_most is row.at_least is None:
        return "-"
    else:
        met = ratio <= row.at_most if row.at_most is not None else ratio >= (row.at_least or 0.0)
    return "yes" if met else "no"


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
