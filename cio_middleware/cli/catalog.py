"""
``cio-middleware catalog``: write the tracking plan down, and say what a new one breaks.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cio_middleware.cli.exits import Exit
from cio_middleware.exceptions import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from cio_middleware.catalog import Catalog

_WRITE = "Type: cio-middleware catalog export MODULE:NAME"
WHERE = "MODULE:NAME of a Catalog, such as shop.events:catalog"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the commands."""
    parser = commands.add_parser("catalog", help="write the tracking plan down, or compare two", description=__doc__)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    export = actions.add_parser("export", help="the plan as JSON Schema, or as Markdown for people")
    export.add_argument("catalog", help=WHERE)
    export.add_argument("--markdown", action="store_true", help="as Markdown")
    export.set_defaults(run=run_export)
    diff = actions.add_parser("diff", help="what a new plan breaks; exits with 1 if it does, for CI")
    diff.add_argument("old", help=f"a file that `export` wrote, or {WHERE}")
    diff.add_argument("new", help="the same")
    diff.add_argument("--json", action="store_true", help="a list of objects")
    diff.set_defaults(run=run_diff)


def run_export(arguments: argparse.Namespace) -> int:
    """Print the plan."""
    from cio_middleware.catalog import markdown, schema

    found = load(arguments.catalog)
    print(markdown(found) if arguments.markdown else json.dumps(schema(found), indent=2, ensure_ascii=False))
    return Exit.OK


def run_diff(arguments: argparse.Namespace) -> int:
    """Print each difference, and say whether any of them breaks something."""
    from cio_middleware.catalog import changes

    found = changes(_plan(arguments.old), _plan(arguments.new))
    if arguments.json:
        print(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
    else:
        for each in found:
            print(each)
        breaking = sum(each.breaks for each in found)
        count = f"{breaking} of {len(found)} changes break what was made for the old plan."
        print(count if found else "No changes.", file=sys.stderr)
    return Exit.FOUND_BAD if any(each.breaks for each in found) else Exit.OK


def load(where: str) -> Catalog:
    """
    The catalog that a module has.

    Raises:
        ConfigurationError: there is no such module or name, or it is no catalog.
    """
    from cio_middleware.catalog import Catalog

    module, colon, name = where.partition(":")
    if not colon or not module or not name:
        raise ConfigurationError(f"{where!r} is not a file, and not {WHERE}.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # One that the module itself wants is said by its own name.
        message = f"there is no module {error.name!r}. Type {WHERE}, from the folder that holds it."
        raise ConfigurationError(message) from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Catalog):
        raise ConfigurationError(f"{where} is a {type(found).__name__}, not a Catalog. Type {WHERE}.")
    return found


def _plan(where: str) -> Any:
    from cio_middleware.catalog import schema

    path = Path(where)
    if not path.is_file():
        if where.endswith(".json"):
            raise ConfigurationError(f"there is no file {where!r}. {_WRITE} > {where}")
        return schema(load(where))
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{where} is no JSON. {_WRITE} > {where}") from error
    if not isinstance(found, dict) or not isinstance(found.get("properties"), dict):
        raise ConfigurationError(f"{where} is no plan. {_WRITE} > {where}")
    return found
