"""The application under waitress, started by a script of its own that knows SIGTERM, as docs/how-to/deploy.md shows."""

from __future__ import annotations

import signal
import sys

import waitress
from shop_wsgi import app  # type: ignore[import-not-found]  # it lies beside this script

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
waitress.serve(app, port=int(sys.argv[1]), host="127.0.0.1", threads=2)
