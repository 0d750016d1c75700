"""The benchmarks run. What they measure is for `make bench`, on a machine that does nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.plan import PLAN

ROOT = Path(__file__).parents[2]


def test_every_scenario_of_the_benchmarks_runs():
    """`--quick` takes seconds, needs none of the peers, and prints a table with every row of the plan."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert run.returncode == 0, run.stderr
    lines = [line.split("|")[1].strip() for line in run.stdout.splitlines() if line.startswith("| ")]
    assert lines[2:] == [row.metric for scenario in PLAN for row in scenario.rows]
