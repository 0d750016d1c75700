"""A Celery application whose tasks capture an event each, with the hook that docs/how-to/deploy.md shows."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_shutdown

import cio_middleware as cio

FOLDER = Path(os.environ["TASKS_FOLDER"])

app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": FOLDER,
        "data_folder_out": FOLDER,
        "control_folder": FOLDER / "control",
        "polling_interval": 0.05,
    },
    worker_max_tasks_per_child=2,
)


@worker_process_shutdown.connect
def deliver(**_):
    """Celery ends its children by `os._exit`, so nothing but this signal says that one is about to go."""
    cio.get_client().close()


@app.task
def work(n):
    """Capture `n`, and say that it is done."""
    cio.track("work", {"n": n}, person="ada")
    (FOLDER / f"done-{n}-{os.getpid()}").touch()
