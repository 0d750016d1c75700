"""Run the command line: ``python -m cio_middleware``."""

from __future__ import annotations

import sys

from cio_middleware.cli.main import main

sys.exit(main())
