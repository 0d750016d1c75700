"""
A module, a class or a function that outgrows a reader's memory fails here.

Lines of code count; docstrings, comments and blank lines do not, so that explaining is free.
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path
from typing import TypeGuard

import pytest

PACKAGE = Path(__file__).parents[2] / "cio_middleware"
LIMITS = {"module": 400, "class": 250, "function": 60}
NO_MODULE_IS_CALLED = {"base", "common", "helpers", "utils"}

LAYOUT = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def is_text(node: ast.AST) -> TypeGuard[ast.Expr]:
    """Whether a statement is a string that stands alone: a docstring, wherever it stands."""
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code."""
    texts = [node for node in ast.walk(ast.parse(source)) if is_text(node)]
    docstrings = {line for text in texts for line in lines_of(text)}
    return {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in LAYOUT and not (token.type == tokenize.STRING and token.start[0] in docstrings)
        for line in range(token.start[0], token.end[0] + 1)
    }


def lines_of(node: ast.stmt) -> range:
    """The numbers of the lines of a statement, with its decorators."""
    starts = [part.lineno for part in (node, *getattr(node, "decorator_list", []))]
    return range(min(starts), (node.end_lineno or node.lineno) + 1)


def too_large(source: str, limits: dict[str, int] = LIMITS) -> list[str]:
    """What is above its limit in a module, each with its size."""
    code = code_lines(source)
    sizes = [("module", "itself", len(code))]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            sizes.append((kind, node.name, len(code.intersection(lines_of(node)))))
    return [
        f"{kind} {name}: {size} lines of code, at most {limits[kind]}"
        for kind, name, size in sizes
        if size > limits[kind]
    ]


SAMPLE = '''\
"""
A docstring of
three lines.
"""

import os  # 1 line of code: what follows it on the line is free

TEXT = """
this string is a value,
"""  # so its 3 lines are code

LIMIT = 1
"""What LIMIT means: not code."""


@staticmethod
def four(
    a,  # a comment

    b,
):
    # a comment
    "a docstring"
    return a


class Two:
    """A docstring."""

    a = 1
'''


def test_only_code_counts():
    """Docstrings, comments and blank lines are free; a decorator and a string that is a value are not."""
    assert code_lines(SAMPLE) == {6, 8, 9, 10, 12, 16, 17, 18, 20, 21, 24, 27, 30}


@pytest.mark.parametrize(
    ("kind", "name", "size"), [("module", "itself", 13), ("class", "Two", 2), ("function", "four", 6)]
)
def test_a_part_is_too_large_from_one_line_above_its_limit(kind, name, size):
    """The limit itself is allowed; one line more is named with its size."""
    assert too_large(SAMPLE, LIMITS | {kind: size}) == []
    assert too_large(SAMPLE, LIMITS | {kind: size - 1}) == [f"{kind} {name}: {size} lines of code, at most {size - 1}"]


def test_nothing_in_the_package_is_too_large():
    """Every module, class and function of the package is within its limit."""
    found = [
        f"{path.relative_to(PACKAGE)}: {part}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for part in too_large(path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


def test_no_module_is_a_junk_drawer():
    """A module is named after what it does, never utils, helpers, common or base."""
    found = [path for path in PACKAGE.rglob("*") if path.stem.strip("_") in NO_MODULE_IS_CALLED]
    assert not found
