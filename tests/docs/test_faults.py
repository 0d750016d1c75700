"""The table of faults is complete and true: each of the 64 has a test of its number, or a reason why not."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "explanation" / "faults.md"

ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", flags=re.MULTILINE)
NAMED = re.compile(r"`([^`]+\.py)::([^`]+)`")
WORDS_OF_A_REASON = 5


def table(text: str) -> list[tuple[int, str]]:
    """Number and last cell of each row."""
    return [(int(number), cell) for number, _, _, cell in ROW.findall(text)]


def functions(path: Path) -> list[str]:
    """The names of the tests in a file; none where there is no file."""
    if not path.is_file():
        return []
    tree = ast.parse(path.read_text("utf-8"))
    found = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [name for name in found if name.startswith("test_")]


def wrong(number: int, cell: str) -> list[str]:
    """What does not hold of a row's last cell."""
    named = NAMED.findall(cell)
    if not named:
        return [] if len(cell.split()) >= WORDS_OF_A_REASON else [f"{number}: neither a test nor a reason"]
    missing = [
        f"{number}: there is no {file}::{name}"
        for file, name in named
        if not any(fnmatchcase(function, name) for function in functions(TESTS / file))
    ]
    if not any(name.startswith(f"test_{number:02}_") for _, name in named):
        missing.append(f"{number}: no test is called test_{number:02}_...")
    return missing


@pytest.mark.parametrize(
    ("cell", "right"),
    [
        ("`faults/test_network.py::test_02_*`", True),
        ("`faults/test_network.py::test_02_no_such_test`", False),
        ("`faults/no_such_file.py::test_02_*`", False),
        ("`faults/test_network.py::test_01_*`", False),
        ("not to be had here: nobody has one", True),
        ("later", False),
        ("-", False),
    ],
)
def test_a_row_is_judged(cell, right):
    """A test that is missing, or of another number, is found, and so is a row with neither test nor reason."""
    assert (not wrong(2, cell)) is right


def test_every_fault_has_a_test_of_its_number_or_a_reason():
    """All 64 are there, in order, and what each row names exists."""
    rows = table(PAGE.read_text("utf-8"))
    assert [number for number, _ in rows] == list(range(1, 65))
    found = [line for number, cell in rows for line in wrong(number, cell)]
    assert not found, "\n".join(found)


def test_every_test_with_a_number_is_in_its_row():
    """Whoever looks a fault up finds all the tests that carry its number."""
    rows = dict(table(PAGE.read_text("utf-8")))
    for path in sorted((TESTS / "faults").rglob("test_*.py")):
        for function in functions(path):
            if number := re.match(r"test_(\d\d)_", function):
                named = NAMED.findall(rows[int(number[1])])
                place = path.relative_to(TESTS).as_posix()
                assert any(file == place and fnmatchcase(function, name) for file, name in named), (
                    f"{place}::{function}"
                )
