"""One scenario with one player, in an interpreter that has done nothing else: `python -m benchmarks.worker '{...}'`."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys


def main() -> None:
    """Run what the argument says; the last line of output holds the figures."""
    job = json.loads(sys.argv[1])
    logging.disable(logging.CRITICAL)  # a library that complains of a fault would be timed for it
    scenario = getattr(importlib.import_module(f"benchmarks.{job['module']}"), job["function"])
    figures = scenario(job["player"], job["url"], job["size"])
    print(json.dumps(figures), flush=True)
    if not job["leaves"]:
        os._exit(0)  # what happens after this is not the scenario's subject


if __name__ == "__main__":
    main()
