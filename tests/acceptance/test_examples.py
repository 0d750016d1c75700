"""Every example runs as its docstring says, and prints what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRINTS = {
    "background_job.py": [
        "ada renewal_started spring 19.9",
        "ada renewal_paid spring 19.9",
        "alan renewal_started spring 29.9",
        "alan renewal_paid spring 29.9",
    ],
    "bad_weather.py": [
        "503                stored 3  duplicates 0  retries 1  dead letters 0",
        "429;retry_after=1  stored 3  duplicates 0  retries 1  dead letters 0",
        "reset              stored 3  duplicates 0  retries 1  dead letters 0",
        "ack_lost           stored 3  duplicates 3  retries 1  dead letters 0",
        "html               stored 3  duplicates 0  retries 1  dead letters 0",
        "partial=0          stored 2  duplicates 0  retries 0  dead letters 1",
    ],
    "redact.py": ["Write to [email] 5"],
}


@pytest.mark.parametrize("example", PRINTS)
def test_an_example_prints_what_it_should(example):
    """The command of its docstring exits 0 and prints these lines."""
    assert f"python examples/{example}" in (ROOT / "examples" / example).read_text("utf-8")

    run = subprocess.run(
        [sys.executable, f"examples/{example}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == PRINTS[example]


def test_no_example_is_left_out():
    """A file in the folder that no test runs would rot."""
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(PRINTS)
