"""
Find the command, run it, and turn its end into an exit code.

A command is a module with two functions: `add` describes its arguments, `run` does the work and returns the
code. Data goes to stdout, what a person should know to stderr, and an error says what to type.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from cio_middleware import __version__
from cio_middleware.cli import catalog, sandbox
from cio_middleware.cli.exits import Exit
from cio_middleware.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    Args:
        argv: The arguments after the program's name; None takes those of the process.

    Returns:
        One of `Exit`; without a command it shows what there is and returns `Exit.USAGE`, so that a script notices.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        parser.print_help(sys.stderr)
        return Exit.USAGE
    try:
        return int(arguments.run(arguments))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return Exit.CONFIGURATION
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cio-middleware", description="Product events into Customer.io.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    sandbox.add(commands)
    catalog.add(commands)
    return parser
