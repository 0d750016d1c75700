"""
Write the tables of the reference that follow the code: `python docs/tables.py`.

A test compares the pages with what this would write, so a setting, a verb or a doubt that is not documented fails it.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any, get_type_hints

from cio_middleware import Client, Settings
from cio_middleware.cli import sandbox
from cio_middleware.sandbox.advice import ADVICE
from cio_middleware.sandbox.fidelity import DOUBTS
from cio_middleware.sandbox.openapi import CALLS
from cio_middleware.sandbox.scenarios import SCENARIOS

REFERENCE = Path(__file__).parent / "reference"
PLACE = re.compile(r"(<!-- table of (\w+): [^\n]* -->\n).*?(<!-- end -->)", flags=re.DOTALL)
NOT_FOR_READERS = {"drop_call"}
"""What another module of ours calls."""
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


def verbs_table() -> str:
    """A row for each method of a client; the twins that are awaited are left out."""
    lines = ["| on a client | what it does |", "|---|---|"]
    for name, method in _methods().items():
        meaning = (inspect.getdoc(method) or "").split("\n\n")[0]
        lines.append(f"| `{name}{_arguments(method)}` | {' '.join(meaning.split())} |")
    return "\n".join(lines) + "\n"


def arguments_table() -> str:
    """A row for each argument of `track`, as its docstring has them."""
    text = inspect.getdoc(Client.track) or ""
    (section,) = re.findall(r"^Args:\n(.*?)\n\n", text, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", section, flags=re.DOTALL | re.MULTILINE)
    rows = [f"| `{name}` | {' '.join(meaning.split())} |" for name, meaning in found]
    return "\n".join(["| argument | meaning |", "|---|---|", *rows]) + "\n"


TABLES = {
    "settings": settings_table,
    "verbs": verbs_table,
    "arguments": arguments_table,
    "differences": differences_table,
    "control": control_table,
    "command": command_table,
    "advice": advice_table,
    "scenarios": scenarios_table,
}
PAGES = [
    REFERENCE / f"{name}.md"
    for name in ("settings", "verbs", "differences", "control-api", "sandbox-command", "advice", "faults")
]


def page(text: str) -> str:
    """The page with its tables written anew."""
    return PLACE.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def _methods() -> dict[str, Any]:
    """What a reader calls, as it is written down: the client's own methods, then those that it inherits."""
    found = {
        name: getattr(Client, name)
        for kind in Client.__mro__[:-1]
        for name in vars(kind)
        if not name.startswith("_") and callable(getattr(Client, name))
    }
    twins = {f"a{name}" for name in found}
    return {name: method for name, method in found.items() if name not in NOT_FOR_READERS | twins}


def _arguments(method: Any) -> str:
    """The names of its arguments; what may be left out carries its default."""
    given = inspect.signature(method).parameters.values()
    shown = [each.replace(annotation=each.empty) for each in given if each.name != "self"]
    return str(inspect.Signature(shown))


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
    for each in PAGES:
        each.write_text(page(each.read_text("utf-8")), "utf-8")
