"""The README, done as its reader does it: its examples pasted into an empty folder, under the servers that it names."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
SERVERS = {
    "starlette": (["uvicorn", "shop:app", "--port", "0"], "/orders"),
    "flask": (["gunicorn", "shop:app", "--bind", "127.0.0.1:0"], "/orders/42"),
}


def example(framework: str) -> str:
    """The block of the README that imports a framework."""
    (found,) = (block for block in BLOCKS if f"from {framework}" in block)
    return found


@contextmanager
def serving(folder: Path, command: list[str], settings: dict[str, str]) -> Iterator[str]:
    """Run a server in a folder, yield its URL, and end it as a process supervisor does."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CUSTOMERIO_")}
    environ |= {f"CUSTOMERIO_{name.upper()}": value for name, value in settings.items()} | {"NO_PROXY": "127.0.0.1"}
    server = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield _url(server)
    finally:
        server.send_signal(signal.SIGTERM)
        said, _ = server.communicate(timeout=20)
    assert "Traceback" not in said, said


def _url(server: subprocess.Popen[str]) -> str:
    """Where the server says that it listens. A thread reads on, since a full pipe would stop the server."""
    found: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert server.stdout is not None
        for line in server.stdout:
            if url := re.search(r"http://127\.0\.0\.1:\d+", line):
                found.put(url[0])
                return

    threading.Thread(target=read, daemon=True).start()
    return found.get(timeout=20)


@pytest.mark.parametrize("framework", SERVERS)
def test_an_example_works_in_an_empty_folder(framework, sandbox, tmp_path):
    """Pasted, with three variables set, it brings the event of a request to the local Customer.io."""
    (tmp_path / "shop.py").write_text(example(framework), "utf-8")
    command, path = SERVERS[framework]

    with serving(tmp_path, command, {**sandbox.settings, "flush_interval": "0.1"}) as url:
        reply = httpx.post(url + path, timeout=30, trust_env=False)
        event = sandbox.wait_for("order_placed", person="ada", data={"total": 42}, timeout=10)

    assert reply.text == "Thank you."
    assert event.data["context"]["page"]["path"] == path
    assert event.attempts == 1


@pytest.mark.parametrize("framework", SERVERS)
def test_an_event_that_waits_when_the_server_is_told_to_stop_is_delivered(framework, sandbox, tmp_path):
    """On SIGTERM uvicorn ends the lifespan and gunicorn exits in the normal way: either delivers what is queued."""
    (tmp_path / "shop.py").write_text(example(framework), "utf-8")
    command, path = SERVERS[framework]

    with serving(tmp_path, command, {**sandbox.settings, "flush_interval": "60"}) as url:
        httpx.post(url + path, timeout=30, trust_env=False)

    assert sandbox.count("order_placed") == 1


def test_without_a_lifespan_uvicorn_loses_what_waits(sandbox, tmp_path):
    """It raises SIGTERM again after its shutdown, so no exit handler runs, and there is no hook: the page says so."""
    (tmp_path / "shop.py").write_text(example("starlette"), "utf-8")
    command, path = SERVERS["starlette"]

    with serving(tmp_path, [*command, "--lifespan", "off"], {**sandbox.settings, "flush_interval": "60"}) as url:
        httpx.post(url + path, timeout=30, trust_env=False)

    assert sandbox.count("order_placed") == 0
    assert "| uvicorn with `--lifespan off` |" in (ROOT / "docs/explanation/delivery.md").read_text("utf-8")


def test_the_first_sight_of_the_sandbox_is_good(sandbox, tmp_path):
    """What the README shows of the sandbox's terminal is what it prints, but for the time."""
    from cio_middleware.cli.sandbox import GLYPHS

    (tmp_path / "shop.py").write_text(example("starlette"), "utf-8")
    command, path = SERVERS["starlette"]
    with serving(tmp_path, command, {**sandbox.settings, "flush_interval": "0.1"}) as url:
        httpx.post(url + path, timeout=30, trust_env=False)
        sandbox.wait_for("order_placed", timeout=10)

    assert [(GLYPHS[event.verdict], event.kind, event.person) for event in sandbox.events()] == [
        ("●", "identify", "ada"),
        ("●", "event", "ada"),
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/first-event.md"])
def test_the_legend_is_that_of_the_sandbox(page):
    """The signs mean on the page what they mean in the terminal, and each has its meaning."""
    from cio_middleware.cli.sandbox import GLYPHS, LEGEND

    assert LEGEND in (ROOT / page).read_text("utf-8")
    assert set(GLYPHS.values()) == {meaning[0] for meaning in LEGEND.split("  ")}


def test_the_readme_has_one_example_for_each_framework():
    """A block that no test runs would rot, so there is none."""
    assert len(BLOCKS) == len(SERVERS)
    assert all(example(framework) for framework in SERVERS)


def test_the_variables_of_the_readme_are_settings():
    """What a reader exports is read: no variable has a name that the package does not know."""
    from cio_middleware import Settings

    names = set(re.findall(r"CUSTOMERIO_[A-Z_]+", README))
    assert names == {f"CUSTOMERIO_{name}" for name in ("BASE_URL", "SITE_ID", "API_KEY", "QUEUE", "SPOOL_DIR")}
    read = Settings.from_env(dict.fromkeys(names, "http://127.0.0.1:8246"))
    assert read.base_url == read.site_id == "http://127.0.0.1:8246"
