"""
Run in the environment of `judge.txt`: make the calls that come on stdin with Customer.io's own package for Pipelines.

In: ``{"key": …, "host": …, "options": {…}, "calls": [[verb, arguments], …]}``. Out: the errors that it told its caller.
"""

from __future__ import annotations

import json
import sys

from customerio.analytics import Client


def main() -> None:
    """Make the calls, and end as the package says one should."""
    given = json.load(sys.stdin)
    told: list[str] = []
    client = Client(
        given["key"], host=given["host"], on_error=lambda error, _: told.append(str(error)), **given["options"]
    )
    for verb, arguments in given["calls"]:
        try:
            getattr(client, verb)(**arguments)
        except Exception as error:  # noqa: BLE001 - whatever it raises is what is asked
            told.append(str(error))
    if not client.sync_mode:
        client.flush()
        client.join()
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
