"""How the tests of this repository are written: a sentence each, real parts, and no waiting by the clock."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PATCHERS = {"setattr", "delattr", "patch", "object", "dict", "multiple"}


def undescribed(tree: ast.Module) -> Iterator[ast.AST]:
    """Test functions with no docstring."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return (node for node in functions if node.name.startswith("test_") and not ast.get_docstring(node))


def timed_waits(tree: ast.Module) -> Iterator[ast.AST]:
    """Calls of `time.sleep` with a number: too long on a fast machine, too short on a busy one."""
    for call in calls(tree):
        waits = ast.unparse(call.func) in {"time.sleep", "sleep"}
        if waits and not any(isinstance(node, ast.Name) for part in call.args for node in ast.walk(part)):
            yield call


def patches(tree: ast.Module) -> Iterator[ast.AST]:
    """Calls that replace a part of our own package, which then is no longer what users run."""
    ours = {
        (name.asname or name.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
        if (getattr(node, "module", None) or name.name).partition(".")[0] == "cio_middleware"
    }
    for call in calls(tree):
        path = ast.unparse(call.func).split(".")
        if path[-1] not in PATCHERS or not {"monkeypatch", "mock", "mocker", "patch"}.intersection(path):
            continue
        target = call.args[0] if call.args else ast.Constant(value=None)
        text = target.value if isinstance(target, ast.Constant) else ast.unparse(target)
        if str(text).partition(".")[0] in ours | {"cio_middleware"}:
            yield call


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Every call in a module."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


RULES: list[tuple[Callable[[ast.Module], Iterator[ast.AST]], str, str]] = [
    (undescribed, "def test_it():\n    '''It holds.'''", "def test_it(): pass"),
    (undescribed, "def setup(): pass", "class TestIt:\n    async def test_it(self): pass"),
    (timed_waits, "time.sleep(interval)", "time.sleep(0.1)"),
    (timed_waits, "wait_until(done, timeout=5)", "from time import sleep\nsleep(1 / 10)"),
    (
        patches,
        "import httpx\nmonkeypatch.setattr(httpx, 'post', stub)",
        "import cio_middleware as cio\nmonkeypatch.setattr(cio.Client, 'track', stub)",
    ),
    (
        patches,
        "from cio_middleware import Client\nsetattr(reply, 'client', Client)",
        "from cio_middleware._client import Client\nwith mock.patch.object(Client, 'track'): ...",
    ),
    (patches, "monkeypatch.setenv('CUSTOMERIO_REGION', 'eu')", "monkeypatch.setattr('cio_middleware.track', stub)"),
    (patches, "mock.patch('time.time')", "@patch('cio_middleware._ids.dice')\ndef test_it(): ..."),
]


@pytest.mark.parametrize(
    ("rule", "good", "bad"), RULES, ids=[f"{rule.__name__}-{number}" for number, (rule, *_) in enumerate(RULES)]
)
def test_a_rule_tells_good_from_bad(rule, good, bad):
    """Each rule accepts what it should and finds what it is there for."""
    assert not list(rule(ast.parse(good)))
    assert list(rule(ast.parse(bad)))


@pytest.mark.parametrize(
    ("rule", "instead"),
    [
        (undescribed, "say in one sentence which behaviour the test holds"),
        (timed_waits, "wait for a condition, with a deadline"),
        (patches, "hand the part in through a constructor argument"),
    ],
    ids=["sentences", "waits", "patches"],
)
def test_every_test_keeps_the_habits(rule, instead):
    """No test lacks a sentence, sleeps for a fixed time, or replaces a part of our own package."""
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}: {instead}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in rule(ast.parse(path.read_text("utf-8")))
    ]
    assert not found, "\n".join(found)
