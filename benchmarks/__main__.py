"""
The numbers that the documentation quotes, measured again: `make bench`.

Every figure counts only in relation to another one of the same run. So the players of a scenario alternate, each time
in a fresh interpreter and with a sink of its own, and who begins changes from one repetition to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from . import report
from .plan import PLAN, Scenario
from .players import is_here
from .sink import running, seen_by

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = 60.0
"""Seconds after which a worker is ended."""
_SETTLING = 0.3
"""Seconds that a sink gets to read what was sent with the last breath of a process."""


def main() -> int:
    """Measure what was asked for; print the table and keep the rest. Missed targets are no error."""
    options = _options()
    plan = [scenario for scenario in PLAN if not options.only or scenario.name in options.only]
    start = time.monotonic()

    def measured(scenario: Scenario) -> list[report.Repetition]:
        reps = 1 if options.quick else options.reps or scenario.reps
        repetitions: list[report.Repetition] = []
        for rep in range(reps):
            _progress(f"{time.monotonic() - start:4.0f} s  {scenario.name} {rep + 1}/{reps}")
            repetitions.append(_repetition(scenario, rep, quick=options.quick))
        return repetitions

    found = list(zip(plan, _each(measured, plan, together=options.quick), strict=True))
    _progress("")
    seconds = time.monotonic() - start
    print(report.table(found))
    print(f"\nOn {report.machine()}, in {seconds:.0f} s. Ratios can be compared between machines, the rest cannot.")
    if not options.quick:
        report.save(found, seconds)
    return 0


def _repetition(scenario: Scenario, rep: int, *, quick: bool) -> report.Repetition:
    players = [player for player in scenario.players if is_here(player)]
    if rep % 2:
        players.reverse()
    figures = _each(lambda player: _run(scenario, player, scenario.sizes[quick]), players, together=scenario.counts)
    return dict(zip(players, figures, strict=True))


def _each(function: Callable[[T], R], of: Sequence[T], *, together: bool) -> list[R]:
    """Counts do not mind company. What is timed runs alone."""
    if not together:
        return [function(one) for one in of]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(function, of))


def _run(scenario: Scenario, player: str, size: int) -> dict[str, float]:
    module, _, function = scenario.does.partition(".")
    with running(**scenario.sink) as url:
        job = {"module": module, "function": function, "player": player, "url": url, "size": size}
        figures = _work({**job, "leaves": scenario.leaves})
        if "due" not in figures:
            return figures
        if scenario.counts:
            time.sleep(_SETTLING)
        figures["lost"] = figures.pop("due") - seen_by(url)
        if figures["lost"] and not scenario.counts:
            message = f"{player} was timed in {scenario.name}, but {figures['lost']:.0f} events did not arrive"
            raise SystemExit(message)
        return figures


def _work(job: dict[str, object]) -> dict[str, float]:
    """Run a worker, and end it with all its children if it does not end by itself."""
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(job)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CUSTOMERIO_")}
    with subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**environ, "NO_PROXY": "127.0.0.1"},
    ) as process:
        try:
            said, complained = process.communicate(timeout=_PATIENCE)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            said, complained = process.communicate()
    if not said.strip():
        message = f"{job['function']} by {job['player']} did not finish:\n{complained[-2000:]}"
        raise SystemExit(message)
    figures: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    return figures


def _progress(what: str) -> None:
    """One line that stays where it is; none in a log."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
    elif what:
        print(what, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure what the documentation quotes.")
    parser.add_argument("--quick", action="store_true", help="everything once and small: whether it runs, not how fast")
    parser.add_argument(
        "--only",
        action="append",
        choices=[scenario.name for scenario in PLAN],
        metavar="NAME",
        help=f"one of {', '.join(scenario.name for scenario in PLAN)}; may be given more than once",
    )
    parser.add_argument("--reps", type=int, help="repetitions of each scenario")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
