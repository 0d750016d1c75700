"""Celery's prefork pool recycles its children and ends them by `os._exit`, which runs no exit handler of Python."""

from __future__ import annotations

import subprocess
import sys

ENQUEUE = "import sys, tasks; [tasks.work.delay(n) for n in range(int(sys.argv[1]))]"


def test_51_recycled_children_of_celery_deliver_what_they_captured(launch, tmp_path, sandbox):
    """A child that ends after two tasks, and one that a warm shutdown ends, deliver each event once."""

    def done():
        return list(tmp_path.glob("done-*"))

    server = launch(
        "celery", "-A", "tasks", "worker", "--concurrency", "1", "--without-gossip", "--without-mingle",
        "--without-heartbeat", TASKS_FOLDER=str(tmp_path), PYTHONWARNINGS="default",  # it warns of being root
    )  # fmt: skip
    subprocess.run([sys.executable, "-c", ENQUEUE, "3"], cwd=server.folder, env=server.environ, check=True, timeout=20)
    server.until(lambda: len(done()) == 3)

    assert server.stop() == 0
    assert sorted(event.data["n"] for event in sandbox.good) == list(range(3))
    assert sandbox.duplicates("work") == 0
    assert len({path.name.split("-")[2] for path in done()}) == 2
