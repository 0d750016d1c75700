"""What a user meets first: a light import, a sorted list of names, types, and commands that exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cio_middleware"

# Each costs a tenth of a second or more, or is an extra that the app may not have.
HEAVY = {
    "anyio",
    "celery",
    "django",
    "flask",
    "httpx",
    "httpx2",
    "opentelemetry.sdk",
    "pytest",
    "redis",
    "starlette",
    "uvicorn",
}


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement."""
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True).split())


def test_importing_the_package_loads_nothing_heavy():
    """`import cio_middleware` costs an app no HTTP library, no framework and no extra."""
    assert not HEAVY & imported_by("import cio_middleware")


def test_a_heavy_import_would_be_seen():
    """The check above sees a module that is imported by another."""
    assert imported_by("import starlette.testclient") >= {"starlette", "anyio"}


def names_in_all(source: str) -> list[str]:
    """The literal `__all__` of a module; empty without one."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def in_order(names: list[str]) -> list[str]:
    """Constants, then classes, then the rest, each by the alphabet: the order that ruff writes."""
    return sorted(set(names), key=lambda name: (not name.isupper(), not name[:1].isupper(), name))


def test_names_out_of_order_would_be_seen():
    """The order is ruff's, and a name that is listed twice is out of order."""
    assert in_order(["track", "Client", "LIMIT", "Event"]) == ["LIMIT", "Client", "Event", "track"]
    assert in_order(["Client", "Client"]) != ["Client", "Client"]
    assert names_in_all("__all__ = ['b', 'a']") == ["b", "a"]


def test_public_names_are_sorted():
    """A name is found in an `__all__` without reading it all, and two changes do not collide at its end."""
    for path in PACKAGE.rglob("*.py"):
        names = names_in_all(path.read_text("utf-8"))
        assert names == in_order(names), path


def test_the_package_ships_its_types():
    """A user's type checker reads our annotations, for which it looks for this file."""
    assert (PACKAGE / "py.typed").is_file()


def make_commands(markdown: str) -> set[str]:
    """The targets that a page tells its reader to make, in code or in a code block."""
    code = re.findall(r"```.*?```|`[^`\n]+`", markdown, flags=re.DOTALL)
    lines = re.findall(r"(?:^|`|\$ |&& )make((?: [a-z]+)+)", "\n".join(code), flags=re.MULTILINE)
    return {target for line in lines for target in line.split()}


MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_make_commands_are_found_in_a_page():
    """Commands count in code alone: prose may make do."""
    page = "Make do: `make demo`, or\n```\n$ make test lint  # both\nmake types && make layers\n```\n"
    assert make_commands(page) == {"demo", "test", "lint", "types", "layers"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_command_of_a_page_exists(page):
    """Nobody copies a command that the Makefile does not know."""
    assert make_commands(page.read_text("utf-8")) <= MAKE_TARGETS
