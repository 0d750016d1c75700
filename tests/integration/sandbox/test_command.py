"""``python -m cio_middleware sandbox``, as somebody at a terminal meets it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

import cio_middleware as cio
from cio_middleware.cli.sandbox import LEGEND, line
from cio_middleware.sandbox.rows import EventRow
from cio_middleware.sandbox.verdicts import Finding, Verdict
from cio_middleware.testing import Sandbox

COMMAND = [sys.executable, "-m", "cio_middleware"]


def run(*arguments, **environ):
    """Run a command to its end."""
    env = {**os.environ, **environ}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False, env=env)


@pytest.fixture(name="command")
def _command() -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "sandbox", "--port", "0", "--site", "shop"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def banner(process):
    """Read what is printed at the start, up to the blank line, and return it with the URL in it."""
    assert process.stdout is not None
    text = ""
    while not text.endswith("\n\n"):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        text += line
    found = re.search(r"http://127\.0\.0\.1:\d+", text)
    assert found
    return text, found.group()


def test_it_says_how_to_reach_it_and_prints_what_arrives(command, web):
    """The banner has lines to paste, and each event is one line that cannot steer the terminal."""
    text, url = banner(command)
    assert f"export CUSTOMERIO_BASE_URL={url}\n" in text
    assert "export CUSTOMERIO_SITE_ID=shop CUSTOMERIO_API_KEY=dev\n" in text
    assert f"    {LEGEND}\n" in text
    assert "Nothing leaves this computer. Ctrl-C to stop." in text

    web.put(f"{url}/api/v1/customers/ada", json={}, auth=("shop", "dev"))
    hostile = "\x1b]0;owned\x07\u202eevil\nline"
    web.post(f"{url}/api/v1/customers/ada/events", json={"name": hostile}, auth=("shop", "dev"))

    first, second = command.stdout.readline(), command.stdout.readline()
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  ●  ID  identify +ada +200\n", first)
    assert "⟨U+001B⟩" in second
    assert "⟨U+202E⟩" in second
    assert second.rstrip("\n").isprintable()


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_ends_cleanly(command, sign, code):
    """Ctrl-C and SIGTERM stop it at once and leave no traceback."""
    banner(command)
    command.send_signal(sign)
    assert command.wait(timeout=5) == code
    assert command.stderr.read() == ""


def test_a_busy_port_says_who_has_it():
    """A sandbox that runs already can be used as it is; anything else is another program."""
    with Sandbox.running() as sandbox:
        refused = run("sandbox", "--port", sandbox.url.rpartition(":")[2])
    assert refused.returncode == 8
    assert "is in use by cio sandbox" in refused.stderr
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        refused = run("sandbox", "--port", str(other.getsockname()[1]))
    assert refused.returncode == 8
    assert "is in use by another program" in refused.stderr


def test_it_does_not_start_in_production():
    """The message says what to type, and the code is that of a wrong configuration."""
    refused = run("sandbox", "--port", "0", CUSTOMERIO_ENV="production")
    assert refused.returncode == 3
    assert "unset CUSTOMERIO_ENV" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_without_uvicorn_it_says_what_to_install(tmp_path):
    """The server is an extra, and its absence is one line."""
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError(name='uvicorn')")
    refused = run("sandbox", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert refused.returncode == 3
    assert refused.stderr == 'the sandbox needs uvicorn. Type: pip install "cio-middleware[sandbox]"\n'


def test_without_a_command_it_shows_what_there_is():
    """The help, where an error would stand; wrong usage is 2, as everywhere."""
    refused = run()
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "run a local Customer.io" in refused.stderr


def test_it_says_its_version():
    """The same as the package's."""
    asked = run("--version")
    assert (asked.returncode, asked.stdout) == (0, f"cio-middleware {cio.__version__}\n")


ROW = EventRow(
    seq=1, workspace="dev", api="track.v2", subject="person", kind="event", name="order", person="ada",
    identifiers={"id": "ada"}, event_id=None, data={}, timestamp=None, received_at=0.0, request="r1", batch_index=0,
    verdict=Verdict.ACCEPTED, statuses=(200,),
)  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ({"total": 42, "plan": "pro", "context": {"page": {}}, "_queued_at": 1}, "total=42 plan=pro"),
        ({"note": "two words", "none": None, "items": [1, "a"]}, 'note="two words" none=null items=[1, "a"]'),
        ({"empty": "", "trick": "a b=c"}, 'empty="" trick="a b=c"'),
        ({"name": "\x1b[2J\u202e"}, "name=⟨U+001B⟩[2J⟨U+202E⟩"),
        ({"text": "x" * 200}, "text=" + "x" * 42 + "…"),
        ({}, ""),
        ("no object", ""),
    ],
    ids=["plain", "quoted", "ambiguous", "hostile", "long", "none", "not-an-object"],
)
def test_a_line_shows_the_attributes(attributes, shown):
    """Short, without what the library adds, and nothing in them can steer the terminal."""
    assert line(replace(ROW, data=attributes)).rpartition("200")[2].strip() == shown


def test_a_line_about_advice_says_what_to_do():
    """What was stored comes with the first clause of its fix; what was refused, with Customer.io's own words."""
    warning = Finding("W-no-identify-yet", "warning", "", "", "nobody was identified", "Identify before, or once.")
    error = Finding("E-name", "invalid", "name", "name is too long", fix="Shorten it.")

    advised = line(replace(ROW, verdict=Verdict.ACCEPTED_BUT, warnings=(warning,), data={"total": 42}))
    refused = line(replace(ROW, verdict=Verdict.REJECTED, errors=(error,), statuses=(400,)))

    assert advised.endswith("200  total=42  nobody was identified. Identify before.")
    assert refused.endswith("400  name is too long")


def test_a_registry_names_the_events_that_are_known(tmp_path, web):
    """Another name is stored and printed with advice; a file that is not there is refused with what to write."""
    names = tmp_path / "events.txt"
    names.write_text("order_placed\n", "utf-8")
    command = [*COMMAND, "sandbox", "--port", "0", "--registry", str(names)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _, url = banner(process)
        event = {"name": "order_plaecd", "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}
        web.put(f"{url}/api/v1/customers/ada", json={}, auth=("dev", "dev"))
        web.post(f"{url}/api/v1/customers/ada/events", json=event, auth=("dev", "dev"))
        assert process.stdout is not None
        assert "the registry does not have it" in process.stdout.readline() + process.stdout.readline()
        process.kill()

    refused = run("sandbox", "--port", "0", "--registry", str(tmp_path / "gone.toml"))
    assert refused.returncode == 3
    assert 'Write: events = ["order_placed", "page_*"]' in refused.stderr
