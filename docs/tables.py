"""
Write the tables of the reference that follow the code: `python docs/tables.py`.

A test compares the pages with what this would write, so a setting or a doubt that is not documented fails it.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from cio_middleware import Settings
from cio_middleware.cli import sandbox
from cio_middleware.sandbox.advice import ADVICE
from cio_middleware.sandbox.fidelity import DOUBTS
from cio_middleware.sandbox.openapi import CALLS
from cio_middleware.sandbox.scenarios import SCENARIOS

REFERENCE = Path(__file__).parent / "reference"
PLACE = re.compile(r"(<!-- table: [^\n]* -->\n).*?(<!-- end -->)", flags=re.DOTALL)
TYPES = {"str": "text", "bool": "true, false", "int": "whole number", "float": "number"}


def settings_table() -> str:
    """A row for each setting, in the order of its class."""
    lines = ["| setting | variable | type | default | meaning |", "|---|---|---|---|---|"]
    meanings = _docstrings(Settings)
    for field in dataclasses.fields(Settings):
        kind, default = _kind(field.name), _default(field.default)
        lines.append(
            f"| `{field.name}` | `CUSTOMERIO_{field.name.upper()}` | {kind} | {default} | {meanings[field.name]} |"
        )
    return "\n".join(lines) + "\n"


def differences_table() -> str:
    """A row for each thing that no source settles, in the order of the sandbox's file."""
    lines = [
        "| key | default | other sides | what is decided, and why | looked for in | how sure |",
        "|---|---|---|---|---|---|",
    ]
    for doubt in DOUBTS.values():
        others = ", ".join(map(_side, doubt.alternatives)) or "none"
        said = (doubt.sentence, doubt.source, doubt.sure)
        lines.append(f"| `{doubt.key}` | {_side(doubt.value)} | {others} | {' | '.join(said)} |")
    return "\n".join(lines) + "\n"


def control_table() -> str:
    """A row for each call of the control API."""
    lines = ["| call | what it does |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{call}` | {said.says} |" for call, said in CALLS.items())]) + "\n"


def command_table() -> str:
    """A row for each option of the command, in the order of its help."""
    commands = argparse.ArgumentParser().add_subparsers()
    sandbox.add(commands)
    lines = ["| option | what it does |", "|---|---|"]
    for action in commands.choices["sandbox"]._actions:  # noqa: SLF001  # argparse lists them nowhere else
        option, meant = (
            action.option_strings[-1],
            action.metavar or "|".join(action.choices or ()) or action.dest.upper(),
        )
        value = "" if action.nargs == 0 else f" {meant}".replace("|", "\\|")
        lines.append(f"| `{option}{value}` | {action.help} |")
    return "\n".join(lines) + "\n"


def advice_table() -> str:
    """A row for each warning."""
    lines = ["| code | given when | what to do |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{one.code}` | {one.when} | {one.fix} |" for one in ADVICE)]) + "\n"


def scenarios_table() -> str:
    """A row for each scenario."""
    lines = ["| scenario | what happens |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{one.name}` | {one.sentence} |" for one in SCENARIOS)]) + "\n"


def _side(value: Any) -> str:
    text = _default(value).strip("`")
    return f"`{text}`" if text else "none"


TABLES: dict[Path, Callable[[], str]] = {
    REFERENCE / "settings.md": settings_table,
    REFERENCE / "differences.md": differences_table,
    REFERENCE / "advice.md": advice_table,
    REFERENCE / "faults.md": scenarios_table,
    REFERENCE / "control-api.md": control_table,
    REFERENCE / "sandbox-command.md": command_table,
}
"""What each page's table is written by."""


def page(path: Path) -> str:
    """The page with its table written anew."""
    return PLACE.sub(lambda found: found[1] + TABLES[path]() + found[2], path.read_text("utf-8"))


def _docstrings(kind: type) -> dict[str, str]:
    """The string below each field."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class is one
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(text.value.value).split()).replace("|", "\\|")
    return found


def _kind(name: str) -> str:
    hint = get_type_hints(Settings)[name]
    words = [TYPES[part] for part in TYPES if re.search(rf"\b{part}\b", getattr(hint, "__name__", str(hint)))]
    return words[0] if words else "text"


def _default(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:_}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    for path in TABLES:
        path.write_text(page(path), "utf-8")
