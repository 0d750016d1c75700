"""The table of `docs/explanation/guarantees.md` names tests that exist, for each guarantee."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "guarantees.md").read_text("utf-8")
ROWS = {number: cells.split(" | ") for number, cells in re.findall(r"^\| (G\d+) \| (.*) \|$", PAGE, re.MULTILINE)}
NOT_THERE_YET = {"G11"}


def names(path: Path) -> list[str]:
    """The tests of a file, state machines included."""
    if not path.is_file():
        return []
    tree = ast.parse(path.read_text("utf-8"))
    found = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    machines = [ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)]
    return [name for name in [*found, *machines] if name.startswith(("test_", "Test"))]


def missing(cell: str) -> list[str]:
    """What a cell names and nobody finds."""
    named = re.findall(r"`([^`]+\.py)::([^`]+)`", cell)
    return [
        f"{file}::{name}"
        for file, name in named
        if not any(fnmatchcase(each, name) for each in names(ROOT / "tests" / file))
    ] + ([] if named else ["no test"])


def test_a_test_that_is_missing_is_found():
    """A file or a name that does not exist, and a cell without any, would fail the next test."""
    assert missing("`unit/test_stats.py::*`") == []
    assert missing("`unit/test_stats.py::test_no_such`") == ["unit/test_stats.py::test_no_such"]
    assert missing("`unit/no_such.py::*`") == ["unit/no_such.py::*"]
    assert missing("-") == ["no test"]


@pytest.mark.parametrize("number", ROWS)
def test_a_guarantee_is_held_by_tests_that_exist(number):
    """Each row promises, names tests, and says what it does not promise."""
    promise, tests, not_promised = ROWS[number]
    assert promise.startswith("**")
    assert not_promised
    assert bool(missing(tests)) is (number in NOT_THERE_YET), missing(tests)


def test_all_guarantees_are_there():
    """Fourteen, in order."""
    assert list(ROWS) == [f"G{n}" for n in range(1, 15)]
