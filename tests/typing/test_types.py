"""What users' type checkers say about the public surface, asked of mypy and pyright themselves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STRICT = {"typeCheckingMode": "strict", "reportMissingTypeStubs": False, "pythonVersion": "3.11"}


def mypy(file: Path) -> dict[int, str]:
    """The errors that mypy finds in a file, by line."""
    options = ["--strict", "--no-error-summary", "--python-version=3.11", "--config-file="]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, file], cwd=ROOT, capture_output=True, text=True, check=False
    )
    # By name alone: out of its cache mypy repeats where the same file was before.
    found = re.findall(rf"^.*\b{re.escape(file.name)}:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert found or done.returncode == 0, done.stdout + done.stderr
    return {int(line): message for line, message in found}


def pyright(file: Path) -> dict[int, str]:
    """The errors that pyright finds in a file, by line."""
    project = file.with_name("pyrightconfig.json")
    project.write_text(json.dumps({**STRICT, "include": [file.name], "extraPaths": [str(ROOT)]}), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "--project", project],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    found = [entry for entry in report["generalDiagnostics"] if entry["severity"] == "error"]
    return {entry["range"]["start"]["line"] + 1: entry["message"] for entry in found}


@pytest.mark.parametrize("check", [mypy, pyright])
def test_every_kind_of_function_and_every_verb_has_its_exact_type(
    check: Callable[[Path], dict[int, str]], tmp_path: Path
) -> None:
    """A decorated function has the type that it had, and each verb the one that its documentation states."""
    file = tmp_path / "decorated.py"
    shutil.copy(HERE / "decorated.py", file)

    assert check(file) == {}


@pytest.mark.parametrize("check", [mypy, pyright])
def test_every_wrong_use_is_found(check: Callable[[Path], dict[int, str]], tmp_path: Path) -> None:
    """Each mistake in the list is an error, and nothing else is."""
    file = tmp_path / "wrong_uses.py"
    shutil.copy(HERE / "wrong_uses.txt", file)
    lines = file.read_text("utf-8").splitlines()
    errors = check(file)
    # Strict pyright also finds variables that are never read, which is not what this is about.
    found = {line for line, message in errors.items() if "is not accessed" not in message}

    assert found == {number for number, line in enumerate(lines, 1) if line.endswith("# X")}, errors
