"""The configuration of gunicorn that docs/how-to/deploy.md shows."""

from __future__ import annotations

import cio_middleware as cio


def worker_exit(server, worker):
    """Deliver before gunicorn says that the worker is gone, and say in its log what came of it."""
    stats = cio.get_client().close()
    worker.log.info("events: %d delivered, %d dropped", stats.delivered, sum(stats.dropped.values()))
