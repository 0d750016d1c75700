"""The table of `docs/explanation/security.md` names tests that exist, for every number of the catalogue."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "security.md").read_text("utf-8")
TESTS = {
    node.name
    for path in (ROOT / "tests").rglob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
}


def rows(page: str) -> dict[int, list[str]]:
    """The cells of each row of the catalogue, by number."""
    lines = re.findall(r"^\| S(\d+) \|(.*)\|$", page, flags=re.MULTILINE)
    return {int(number): [cell.strip() for cell in cells.split(" | ")] for number, cells in lines}


ROWS = rows(PAGE)


def test_every_number_has_a_row():
    """The catalogue has thirty risks, in order; each row says what the risk is, what we do, and how that is held."""
    assert list(ROWS) == list(range(1, 31))
    assert {len(cells) for cells in ROWS.values()} == {3}
    assert rows("| S7 | a | b | `c` |\n| other | x | y | z |") == {7: ["a", "b", "`c`"]}


@pytest.mark.parametrize("number", ROWS)
def test_a_row_names_tests_of_its_number(number):
    """Each test that a row names exists and has the row's number; a promise without a test says why."""
    _, promise, test = ROWS[number]
    named = re.findall(r"`(\w+)`", test)
    assert set(named) <= TESTS
    assert all(f"_s{number:02}_" in name for name in named)
    assert named or test == "-"
    assert named or promise == "-" or "nothing to test" in promise


def test_every_test_with_a_number_is_in_the_table():
    """A test that is named after a number is found by whoever reads the page."""
    numbered = {name for name in TESTS if re.match(r"test_s\d\d_", name)}
    named = {name for cells in ROWS.values() for name in re.findall(r"`(test_\w+)`", cells[2])}
    assert numbered == named
